/* list: order, and that unlinked nodes point to themselves. */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { NODES = 3 };

static struct list head;
static struct list nodes[NODES];

static int link_nodes(void **state)
{
    (void)state;
    list_init(&head);
    for (size_t i = 0; i < NODES; i++) {
        list_init(&nodes[i]);
        list_add_tail(&head, &nodes[i]);
    }
    return 0;
}

static void pops_in_the_order_of_adding(void **state)
{
    (void)state;
    for (size_t i = 0; i < NODES; i++)
        assert_ptr_equal(list_pop(&head), &nodes[i]);
    assert_null(list_pop(&head));
    assert_true(list_is_empty(&head));
}

static void deleting_twice_is_harmless(void **state)
{
    (void)state;
    list_del(&nodes[1]);
    list_del(&nodes[1]);
    assert_false(list_is_linked(&nodes[1]));
    assert_ptr_equal(nodes[0].next, &nodes[2]);
    assert_ptr_equal(nodes[2].prev, &nodes[0]);
}

static void moving_puts_last(void **state)
{
    struct list other;

    (void)state;
    list_move_tail(&head, &nodes[0]);
    assert_ptr_equal(head.prev, &nodes[0]);
    assert_ptr_equal(head.next, &nodes[1]);
    list_init(&other);
    list_move_tail(&other, &nodes[1]);
    assert_ptr_equal(list_pop(&other), &nodes[1]);
    assert_ptr_equal(head.next, &nodes[2]);
}

static void splicing_keeps_both_orders_and_empties_the_source(void **state)
{
    struct list to;
    struct list first;

    (void)state;
    list_init(&to);
    list_init(&first);
    list_add_tail(&to, &first);
    list_splice_tail(&to, &head);
    assert_true(list_is_empty(&head));
    assert_ptr_equal(list_pop(&to), &first);
    for (size_t i = 0; i < NODES; i++)
        assert_ptr_equal(list_pop(&to), &nodes[i]);
    list_splice_tail(&to, &head);
    assert_true(list_is_empty(&to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pops_in_the_order_of_adding, link_nodes),
        cmocka_unit_test_setup(deleting_twice_is_harmless, link_nodes),
        cmocka_unit_test_setup(moving_puts_last, link_nodes),
        cmocka_unit_test_setup(splicing_keeps_both_orders_and_empties_the_source, link_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
