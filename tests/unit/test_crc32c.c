/* crc32c: the values that RFC 3720, appendix B.4, lists. */
#include "proto/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK_BYTES = 32 };

static void published_values_come_out(void **state)
{
    uint8_t block[BLOCK_BYTES];

    (void)state;
    assert_int_equal(crc32c_extend(0, "123456789", 9), 0xe3069283);
    memset(block, 0, sizeof(block));
    assert_int_equal(crc32c_extend(0, block, sizeof(block)), 0x8a9136aa);
    memset(block, 0xff, sizeof(block));
    assert_int_equal(crc32c_extend(0, block, sizeof(block)), 0x62a8ab43);
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] = (uint8_t)i;
    assert_int_equal(crc32c_extend(0, block, sizeof(block)), 0x46dd794e);
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] = (uint8_t)(BLOCK_BYTES - 1 - i);
    assert_int_equal(crc32c_extend(0, block, sizeof(block)), 0x113fdb5c);
}

static void pieces_sum_up_to_the_whole(void **state)
{
    const char *text = "The quick brown fox jumps over the lazy dog";
    size_t len = strlen(text);
    uint32_t whole = crc32c_extend(0, text, len);

    (void)state;
    for (size_t cut = 0; cut <= len; cut++)
        assert_int_equal(crc32c_extend(crc32c_extend(0, text, cut), text + cut, len - cut), whole);
}

static void nothing_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(crc32c_extend(0, "", 0), 0);
    assert_int_equal(crc32c_extend(0x12345678, "", 0), 0x12345678);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values_come_out),
        cmocka_unit_test(pieces_sum_up_to_the_whole),
        cmocka_unit_test(nothing_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
