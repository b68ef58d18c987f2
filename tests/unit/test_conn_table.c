/* The slots of connections: reuse under a new generation, and the bound. */
#include "core/conn_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/conn.h"
#include "uring/op.h"

enum { SLOTS = 70 }; /* more than one block, less than two */

static int setup(void **state)
{
    static struct conn_table table;

    assert_int_equal(conn_table_init(&table, SLOTS), 0);
    *state = &table;
    return 0;
}

static int teardown(void **state)
{
    conn_table_deinit(*state);
    return 0;
}

static uint64_t user_data(const struct conn *conn)
{
    return op_pack(OP_RECV, conn->slot, conn->generation);
}

static void a_connection_is_found_by_its_user_data(void **state)
{
    struct conn_table *table = *state;
    struct conn *one = conn_table_take(table);
    struct conn *two = conn_table_take(table);

    assert_int_not_equal(one->slot, two->slot);
    assert_ptr_equal(conn_table_find(table, user_data(one)), one);
    assert_ptr_equal(conn_table_find(table, user_data(two)), two);
    conn_table_return(table, one);
    conn_table_return(table, two);
}

static void a_returned_slot_is_not_found_any_more(void **state)
{
    struct conn_table *table = *state;
    struct conn *conn = conn_table_take(table);
    uint64_t old = user_data(conn);

    conn_table_return(table, conn);
    assert_null(conn_table_find(table, old));
}

static void the_last_returned_slot_is_reused_first_under_a_new_generation(void **state)
{
    struct conn_table *table = *state;
    struct conn *one = conn_table_take(table);
    struct conn *two = conn_table_take(table);
    uint64_t old = user_data(two);

    two->bytes_in = 7;
    conn_table_return(table, one);
    conn_table_return(table, two);
    struct conn *again = conn_table_take(table);
    assert_ptr_equal(again, two);
    assert_int_equal(again->bytes_in, 0);
    assert_null(conn_table_find(table, old));
    assert_ptr_equal(conn_table_find(table, user_data(again)), again);
    conn_table_return(table, again);
}

static void no_more_than_max_slots_are_given(void **state)
{
    struct conn_table *table = *state;
    struct conn *conns[SLOTS];

    for (uint32_t i = 0; i < SLOTS; i++) {
        conns[i] = conn_table_take(table);
        assert_non_null(conns[i]);
        assert_true(conns[i]->slot < SLOTS);
    }
    assert_null(conn_table_take(table));
    conn_table_return(table, conns[33]);
    assert_ptr_equal(conn_table_take(table), conns[33]);
    for (uint32_t i = 0; i < SLOTS; i++)
        conn_table_return(table, conns[i]);
}

static void slots_do_not_move_when_the_table_grows(void **state)
{
    struct conn_table *table = *state;
    struct conn *conns[SLOTS];

    conns[0] = conn_table_take(table);
    conns[0]->bytes_in = 42;
    for (uint32_t i = 1; i < SLOTS; i++)
        conns[i] = conn_table_take(table);
    assert_int_equal(conns[0]->bytes_in, 42);
    assert_ptr_equal(conn_table_find(table, user_data(conns[0])), conns[0]);
    for (uint32_t i = 0; i < SLOTS; i++)
        conn_table_return(table, conns[i]);
}

static void user_data_holds_generations_past_24_bits(void **state)
{
    struct conn_table *table = *state;
    struct conn *conn = conn_table_take(table);

    conn->generation = OP_GENERATION_MASK;
    conn_table_return(table, conn);
    conn = conn_table_take(table);
    assert_int_equal(conn->generation, OP_GENERATION_MASK + 1);
    assert_ptr_equal(conn_table_find(table, user_data(conn)), conn);
    conn_table_return(table, conn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_is_found_by_its_user_data),
        TEST(a_returned_slot_is_not_found_any_more),
        TEST(the_last_returned_slot_is_reused_first_under_a_new_generation),
        TEST(no_more_than_max_slots_are_given),
        TEST(slots_do_not_move_when_the_table_grows),
        TEST(user_data_holds_generations_past_24_bits),
    };

    return cmocka_run_group_tests_name("conn_table", tests, NULL, NULL);
}
