/* maglev: shares, and how little changes when an entry leaves. */
#include "proxy/maglev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/limits.h"

static struct maglev_entry entries[UPSTREAM_SERVERS_MAX];

/* Entry i is the same server in all tests. */
static void make_entries(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        entries[i] = (struct maglev_entry){.key = hash_bytes(&i, sizeof(i)), .weight = 1};
}

static uint16_t *table_of(const struct maglev_entry *from, uint32_t count)
{
    uint16_t *slots = maglev_new(from, count);

    assert_non_null(slots);
    return slots;
}

static void assert_shares(const uint16_t *slots, uint32_t count, double tolerance)
{
    uint32_t owned[UPSTREAM_SERVERS_MAX] = {0};
    uint64_t weights = 0;

    for (uint32_t i = 0; i < count; i++)
        weights += entries[i].weight;
    for (uint32_t slot = 0; slot < MAGLEV_SLOTS; slot++) {
        assert_true(slots[slot] < count);
        owned[slots[slot]]++;
    }
    for (uint32_t i = 0; i < count; i++) {
        double share = (double)MAGLEV_SLOTS * entries[i].weight / (double)weights;

        assert_true(owned[i] > 0);
        assert_true(owned[i] > share * (1 - tolerance) - 1);
        assert_true(owned[i] < share * (1 + tolerance) + 1);
    }
}

static void equal_weights_own_equally_many_slots(void **state)
{
    const uint32_t counts[] = {1, 2, 3, 10, 100, UPSTREAM_SERVERS_MAX};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        make_entries(counts[i]);
        uint16_t *slots = table_of(entries, counts[i]);
        assert_shares(slots, counts[i], 0);
        free(slots);
    }
}

static void weights_are_shares_of_the_slots(void **state)
{
    const uint32_t weights[] = {5, 1, 1, 100, 37, 2};

    (void)state;
    make_entries(COUNT_OF(weights));
    for (size_t i = 0; i < COUNT_OF(weights); i++)
        entries[i].weight = weights[i];
    uint16_t *slots = table_of(entries, COUNT_OF(weights));
    assert_shares(slots, COUNT_OF(weights), 0.005);
    free(slots);
}

static void smallest_weight_has_a_slot(void **state)
{
    (void)state;
    make_entries(UPSTREAM_SERVERS_MAX);
    for (uint32_t i = 1; i < UPSTREAM_SERVERS_MAX; i++)
        entries[i].weight = UPSTREAM_WEIGHT_MAX;
    uint16_t *slots = table_of(entries, UPSTREAM_SERVERS_MAX);
    assert_shares(slots, UPSTREAM_SERVERS_MAX, 0.01);
    free(slots);
}

static void order_of_the_entries_does_not_matter(void **state)
{
    struct maglev_entry reversed[10];
    uint16_t *slots, *slots_reversed;

    (void)state;
    make_entries(10);
    for (uint32_t i = 0; i < 10; i++) {
        entries[i].weight = i + 1;
        reversed[9 - i] = entries[i];
    }
    slots = table_of(entries, 10);
    slots_reversed = table_of(reversed, 10);
    for (uint32_t slot = 0; slot < MAGLEV_SLOTS; slot++)
        assert_int_equal(slots[slot], 9 - slots_reversed[slot]);
    free(slots);
    free(slots_reversed);
}

/* Slots that change hands when entry `leaving` of `count` goes; all of its own are among them. */
static uint32_t slots_moved(const uint16_t *before, uint32_t count, uint32_t leaving)
{
    struct maglev_entry rest[UPSTREAM_SERVERS_MAX];
    uint32_t moved = 0;
    uint16_t *after;

    memcpy(rest, entries, leaving * sizeof(rest[0]));
    memcpy(&rest[leaving], &entries[leaving + 1], (count - leaving - 1) * sizeof(rest[0]));
    after = table_of(rest, count - 1);
    for (uint32_t slot = 0; slot < MAGLEV_SLOTS; slot++) {
        uint32_t owner = after[slot] + (after[slot] >= leaving ? 1U : 0U);

        moved += owner != before[slot];
    }
    free(after);
    return moved;
}

static void one_of_n_that_leaves_moves_at_most_one_and_a_half_nth(void **state)
{
    (void)state;
    for (uint32_t count = 2; count <= 20; count++) {
        make_entries(count);
        uint16_t *before = table_of(entries, count);
        for (uint32_t leaving = 0; leaving < count; leaving++) {
            double nths = (double)slots_moved(before, count, leaving) * count / MAGLEV_SLOTS;

            assert_true(nths >= 0.99);
            assert_true(nths <= 1.5);
        }
        free(before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_weights_own_equally_many_slots),
        cmocka_unit_test(weights_are_shares_of_the_slots),
        cmocka_unit_test(smallest_weight_has_a_slot),
        cmocka_unit_test(order_of_the_entries_does_not_matter),
        cmocka_unit_test(one_of_n_that_leaves_moves_at_most_one_and_a_half_nth),
    };

    return cmocka_run_group_tests_name("maglev", tests, NULL, NULL);
}
