/* hash: known values, avalanche, even spread of keys that differ in little. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

enum { BUCKETS = 251, KEYS_PER_BUCKET = 400, AVALANCHE_KEYS = 2000, KEY_BYTES = 16 };

static void bytes_are_fnv1a_and_then_mixed(void **state)
{
    (void)state; /* the values of the FNV specification's test vectors */
    assert_true(hash_bytes("", 0) == hash_mix(0xcbf29ce484222325ULL));
    assert_true(hash_bytes("a", 1) == hash_mix(0xaf63dc4c8601ec8cULL));
    assert_true(hash_bytes("foobar", 6) == hash_mix(0x85944171f73967e8ULL));
}

static void steps_give_the_sequence_of_splitmix64(void **state)
{
    (void)state; /* of seed 0 */
    assert_true(hash_mix(HASH_STEP) == 0xe220a8397b1dcdafULL);
    assert_true(hash_mix(2 * HASH_STEP) == 0x6e789e6aa1b965f4ULL);
    assert_true(hash_mix(3 * HASH_STEP) == 0x06c45d188009454fULL);
}

static void every_bit_of_a_key_changes_half_of_the_hash(void **state)
{
    uint32_t changed[KEY_BYTES * 8] = {0};
    uint8_t key[KEY_BYTES] = {0};

    (void)state;
    for (uint32_t i = 0; i < AVALANCHE_KEYS; i++) {
        memcpy(key, &i, sizeof(i));
        uint64_t before = hash_bytes(key, sizeof(key));
        for (uint32_t bit = 0; bit < KEY_BYTES * 8; bit++) {
            key[bit / 8] ^= (uint8_t)(1 << bit % 8);
            changed[bit] += (uint32_t)__builtin_popcountll(before ^ hash_bytes(key, sizeof(key)));
            key[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    for (uint32_t bit = 0; bit < KEY_BYTES * 8; bit++)
        assert_in_range(changed[bit], AVALANCHE_KEYS * 31, AVALANCHE_KEYS * 33);
}

/* Chi square of keys over buckets; 250 degrees of freedom, so 250 ± 22.4. */
static void assert_even(const uint32_t *counts)
{
    double chi_square = 0;

    for (uint32_t i = 0; i < BUCKETS; i++) {
        double off = (double)counts[i] - KEYS_PER_BUCKET;

        chi_square += off * off / KEYS_PER_BUCKET;
    }
    assert_true(chi_square > 250 - 5 * 22.4);
    assert_true(chi_square < 250 + 5 * 22.4);
}

static void neighbouring_addresses_spread_evenly(void **state)
{
    uint32_t low[BUCKETS] = {0}, high[BUCKETS] = {0};

    (void)state;
    for (uint32_t i = 0; i < BUCKETS * KEYS_PER_BUCKET; i++) {
        const uint8_t address[4] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        uint64_t hash = hash_bytes(address, sizeof(address));

        low[hash % BUCKETS]++;
        high[(hash >> 32) * BUCKETS >> 32]++;
    }
    assert_even(low);
    assert_even(high);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_fnv1a_and_then_mixed),
        cmocka_unit_test(steps_give_the_sequence_of_splitmix64),
        cmocka_unit_test(every_bit_of_a_key_changes_half_of_the_hash),
        cmocka_unit_test(neighbouring_addresses_spread_evenly),
    };

    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
