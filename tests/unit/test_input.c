/* The queue of unread bytes: borrowing, peeking, skipping, and copying together what came in crumbs. */
#include "core/input.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"

enum { GROUP = 3, BUFFERS = 64, BUFFER_BYTES = 16 * 1024 };

struct in_fixture {
    struct ring *ring;
    struct bufring *bufs;
    struct chunk_pool chunks;
    struct lease_pool leases;
    struct input in;
};

static int setup(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    const struct bufring_options buffers = {.buffer_bytes = BUFFER_BYTES, .entries = BUFFERS};
    struct in_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    assert_int_equal(bufring_open(&f->bufs, f->ring, GROUP, &buffers), 0);
    chunk_pool_init(&f->chunks);
    lease_pool_init(&f->leases, f->bufs, &f->chunks);
    input_init(&f->in, 5);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct in_fixture *f = *state;

    input_deinit(&f->in);
    assert_int_equal(f->in.bytes, 0);
    lease_pool_deinit(&f->leases);
    chunk_pool_deinit(&f->chunks);
    bufring_close(f->bufs);
    ring_close(f->ring);
    free(f);
    return 0;
}

static void feed_bytes(struct in_fixture *f, const void *bytes, size_t len)
{
    struct completion completion;
    struct buf_piece piece;

    bufring_publish(f->bufs);
    assert_int_equal(fake_ring_recv(f->ring, 1, bytes, len, FAKE_MORE), len);
    while (ring_reap(f->ring, &completion, 1) == 1) {
        assert_true(bufring_take(f->bufs, &completion, &piece));
        struct lease *lease = lease_new(&f->leases, &piece);
        assert_non_null(lease);
        input_append(&f->in, lease);
    }
}

static void feed(struct in_fixture *f, const char *text)
{
    feed_bytes(f, text, strlen(text));
}

/* The unread bytes as text. */
static const char *unread(const struct in_fixture *f)
{
    static char text[256];

    assert_true(f->in.bytes < sizeof(text));
    input_copy(&f->in, 0, f->in.bytes, (uint8_t *)text);
    text[f->in.bytes] = '\0';
    return text;
}

/* The bytes of a chain as text. */
static const char *chain_text(const struct lease *lease)
{
    static char text[256];
    size_t len = 0;

    for (; lease; lease = lease->next) {
        memcpy(text + len, lease->data, lease->len);
        len += lease->len;
    }
    text[len] = '\0';
    return text;
}

static void bytes_wait_in_the_order_they_came(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "ab");
    feed(f, "cde");
    assert_int_equal(f->in.bytes, 5);
    assert_int_equal(f->in.loose, 2);
    assert_string_equal(unread(f), "abcde");
}

static void shift_gives_a_piece_away(void **state)
{
    struct in_fixture *f = *state;
    struct lease *lease;

    assert_null(input_shift(&f->in));
    feed(f, "ab");
    feed(f, "cde");
    lease = input_shift(&f->in);
    assert_string_equal(chain_text(lease), "ab");
    assert_null(lease->count); /* no script holds it */
    assert_int_equal(f->in.bytes, 3);
    assert_int_equal(f->in.loose, 1);
    lease_free(lease);
    assert_int_equal(input_loose_bytes(&f->in), 3);
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    assert_int_equal(input_loose_bytes(&f->in), 0);
    lease = input_shift(&f->in);
    assert_string_equal(chain_text(lease), "cde");
    assert_null(f->in.first);
    assert_null(f->in.compacted_last);
    feed(f, "f");
    assert_string_equal(unread(f), "f");
    lease_free(lease);
}

static void next_borrows_one_piece(void **state)
{
    struct in_fixture *f = *state;

    assert_null(input_next(&f->in));
    feed(f, "ab");
    feed(f, "cde");
    const struct lease *lease = input_next(&f->in);
    assert_memory_equal(lease->data, "ab", 2);
    assert_int_equal(f->in.count.held, 1);
    assert_string_equal(unread(f), "cde");
    input_end_borrow(&f->in);
    assert_int_equal(f->in.count.held, 0);
    assert_int_equal(bufring_leases(f->bufs), 1);
}

static void take_splits_the_last_piece(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    feed(f, "def");
    assert_string_equal(chain_text(input_take(&f->in, 4)), "abcd");
    assert_string_equal(unread(f), "ef");
    assert_string_equal(chain_text(input_take(&f->in, 2)), "ef");
    assert_int_equal(f->in.bytes, 0);
    assert_int_equal(f->in.loose, 0);
}

static void take_of_part_of_the_first_piece_leaves_the_rest(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    assert_string_equal(chain_text(input_take(&f->in, 1)), "a");
    assert_int_equal(f->in.loose, 1);
    assert_string_equal(unread(f), "bc");
}

static void take_of_everything_empties_the_queue(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    feed(f, "def");
    assert_string_equal(chain_text(input_take(&f->in, 6)), "abcdef");
    assert_null(f->in.first);
    assert_null(f->in.last);
    feed(f, "g");
    assert_string_equal(unread(f), "g");
}

static void take_without_memory_moves_nothing(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    feed(f, "def");
    f->leases.slab.taken_max = f->leases.slab.taken;
    assert_null(input_take(&f->in, 4));
    assert_string_equal(unread(f), "abcdef");
    assert_string_equal(chain_text(input_take(&f->in, 3)), "abc"); /* needs none */
}

static void peek_consumes_nothing(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    feed(f, "def");
    assert_string_equal(chain_text(input_peek(&f->in)), "abcdef");
    assert_string_equal(unread(f), "abcdef");
    assert_int_equal(f->in.count.held, 2);
    input_skip(&f->in, 6); /* the peeked pieces keep the buffers */
    assert_int_equal(bufring_leases(f->bufs), 2);
    assert_string_equal(chain_text(f->in.borrowed_first), "abcdef");
    input_end_borrow(&f->in);
    assert_int_equal(bufring_leases(f->bufs), 0);
}

static void peek_without_memory_borrows_nothing(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    feed(f, "def");
    f->leases.slab.taken_max = f->leases.slab.taken + 1;
    assert_null(input_peek(&f->in));
    assert_null(f->in.borrowed_first);
    assert_int_equal(f->in.count.held, 0);
    assert_int_equal(f->leases.slab.taken, 2);
}

static void skip_ends_at_any_byte(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    feed(f, "def");
    input_skip(&f->in, 0);
    input_skip(&f->in, 2);
    assert_string_equal(unread(f), "cdef");
    input_skip(&f->in, 1);
    assert_string_equal(unread(f), "def");
    assert_int_equal(bufring_leases(f->bufs), 1);
    input_skip(&f->in, 3);
    assert_int_equal(f->in.bytes, 0);
    assert_null(f->in.last);
}

static void copy_crosses_pieces(void **state)
{
    struct in_fixture *f = *state;
    uint8_t out[4] = {0};

    feed(f, "a");
    feed(f, "bcd");
    feed(f, "ef");
    input_copy(&f->in, 0, 4, out);
    assert_memory_equal(out, "abcd", 4);
    input_copy(&f->in, 3, 3, out);
    assert_memory_equal(out, "def", 3);
    input_copy(&f->in, 6, 0, out);
}

/* ---- compaction ---- */

static void compaction_frees_the_buffers_and_keeps_the_bytes(void **state)
{
    struct in_fixture *f = *state;

    for (int i = 0; i < 10; i++)
        feed(f, "0123456789");
    input_skip(&f->in, 3);
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    assert_int_equal(bufring_leases(f->bufs), 0);
    assert_int_equal(f->in.loose, 0);
    assert_int_equal(f->in.bytes, 97);
    assert_memory_equal(unread(f), "34567890123", 11);
    assert_null(f->in.first->next); /* one piece now */
}

static void what_comes_after_a_compaction_joins_its_chunk(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    const uint8_t *data = f->in.first->data;
    feed(f, "def");
    assert_string_equal(unread(f), "abcdef");
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    assert_ptr_equal(f->in.first->data, data); /* "abc" was not copied again */
    assert_string_equal(unread(f), "abcdef");
    assert_null(f->in.first->next);
    assert_int_equal(input_compact(&f->in, &f->leases), 0); /* nothing to do */
    assert_string_equal(unread(f), "abcdef");
}

static void borrowed_parts_of_a_chunk_are_not_disturbed(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abcdef");
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    const struct lease *taken = input_take(&f->in, 2);
    feed(f, "gh");
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    assert_int_equal(taken->len, 2);
    assert_memory_equal(taken->data, "ab", 2);
    assert_string_equal(unread(f), "cdefgh");
    input_end_borrow(&f->in);
    assert_string_equal(unread(f), "cdefgh");
}

static void compaction_after_the_compacted_part_was_read_starts_anew(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    const struct lease *taken = input_take(&f->in, 3);
    assert_null(f->in.compacted_last);
    feed(f, "def");
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    assert_memory_equal(taken->data, "abc", 3);
    assert_string_equal(unread(f), "def");
}

/* A stream of crumbs, compacted whenever there are many: each byte is copied once, so the chunks hold what was fed and little
 * more. */
static void a_long_stream_of_crumbs_stays_whole_and_small(void **state)
{
    struct in_fixture *f = *state;
    const uint32_t total = 3 * CHUNK_LARGE_BYTES;
    uint8_t crumb[97];
    uint8_t *out = malloc(total + sizeof(crumb));
    uint32_t fed = 0;

    assert_non_null(out);
    while (fed < total) {
        for (uint32_t i = 0; i < sizeof(crumb); i++)
            crumb[i] = (uint8_t)((fed + i) * 31 + (fed + i) / 253);
        feed_bytes(f, crumb, sizeof(crumb));
        fed += sizeof(crumb);
        if (f->in.loose > INPUT_LEASES_MAX)
            assert_int_equal(input_compact(&f->in, &f->leases), 0);
    }
    assert_int_equal(f->in.bytes, fed);
    assert_true(chunk_pool_bytes_out(&f->chunks) <= (uint64_t)fed + 2 * CHUNK_LARGE_BYTES);
    input_copy(&f->in, 0, fed, out);
    for (uint32_t i = 0; i < fed; i++)
        assert_int_equal(out[i], (uint8_t)(i * 31 + i / 253));
    free(out);
}

static void compaction_without_memory_keeps_what_it_could_not_copy(void **state)
{
    struct in_fixture *f = *state;

    feed(f, "abc");
    feed(f, "def");
    f->chunks.small.taken_max = f->chunks.small.taken;
    f->chunks.large.taken_max = f->chunks.large.taken;
    assert_int_equal(input_compact(&f->in, &f->leases), -ENOMEM);
    assert_int_equal(f->in.loose, 2);
    assert_string_equal(unread(f), "abcdef");
    feed(f, "g");
    assert_string_equal(unread(f), "abcdefg");
    f->chunks.small.taken_max = UINT32_MAX;
    f->leases.slab.taken_max = f->leases.slab.taken; /* a chunk, but no lease on it */
    assert_int_equal(input_compact(&f->in, &f->leases), -ENOMEM);
    assert_int_equal(chunk_pool_out(&f->chunks), 0);
    assert_string_equal(unread(f), "abcdefg");
}

static void compaction_that_stops_half_way_loses_and_doubles_nothing(void **state)
{
    struct in_fixture *f = *state;
    const uint32_t total = CHUNK_LARGE_BYTES + 5000; /* the second chunk will be missing, in the middle of a piece */
    uint8_t *bytes = malloc(total);
    uint8_t *out = malloc(total);

    assert_true(bytes && out);
    for (uint32_t i = 0; i < total; i++)
        bytes[i] = (uint8_t)(i % 251);
    feed_bytes(f, bytes, total);
    f->chunks.small.taken_max = 1;
    f->chunks.large.taken_max = 1;
    f->chunks.small.taken = 1; /* as if all were out */
    assert_int_equal(input_compact(&f->in, &f->leases), -ENOMEM);
    assert_true(f->in.loose > 0 && f->in.compacted_last);
    assert_int_equal(f->in.bytes, total);
    input_copy(&f->in, 0, total, out);
    assert_memory_equal(out, bytes, total);
    f->chunks.small.taken = 0;
    f->chunks.large.taken_max = UINT32_MAX;
    assert_int_equal(input_compact(&f->in, &f->leases), 0);
    input_copy(&f->in, 0, total, out);
    assert_memory_equal(out, bytes, total);
    free(bytes);
    free(out);
}

static void gathering_puts_the_first_bytes_into_one_piece(void **state)
{
    struct in_fixture *f = *state;
    char expected[2 * CHUNK_SMALL_BYTES];

    assert_int_equal(input_gather(&f->in, &f->leases), 0); /* of nothing */
    for (uint32_t i = 0; i < sizeof(expected); i++) {      /* past what a small chunk holds */
        expected[i] = (char)('a' + i % 26);
        feed_bytes(f, (uint8_t *)&expected[i], 1);
        assert_int_equal(input_gather(&f->in, &f->leases), 0);
        assert_int_equal(f->in.first->len, i + 1);
        assert_ptr_equal(f->in.last, f->in.first);
    }
    assert_memory_equal(f->in.first->data, expected, sizeof(expected));
    assert_int_equal(f->in.bytes, sizeof(expected));
    assert_int_equal(f->in.loose, 0);
}

static void gathering_stops_at_what_a_chunk_holds(void **state)
{
    struct in_fixture *f = *state;
    const uint32_t total = CHUNK_LARGE_BYTES + 5000;
    uint8_t *bytes = calloc(1, total);

    assert_non_null(bytes);
    feed_bytes(f, bytes, total);
    assert_int_equal(input_gather(&f->in, &f->leases), 0);
    assert_in_range(f->in.first->len, CHUNK_LARGE_BYTES, total - 1);
    assert_int_equal(f->in.bytes, total);
    assert_int_equal(input_gather(&f->in, &f->leases), 0);
    input_skip(&f->in, total);
    free(bytes);
}

static void gathering_without_memory_keeps_every_byte(void **state)
{
    struct in_fixture *f = *state;

    feed_bytes(f, (const uint8_t *)"abc", 3);
    feed_bytes(f, (const uint8_t *)"def", 3);
    f->chunks.small.taken_max = 1;
    f->chunks.small.taken = 1; /* as if all were out */
    assert_int_equal(input_gather(&f->in, &f->leases), -ENOMEM);
    f->chunks.small.taken = 0;
    assert_string_equal(unread(f), "abcdef");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_wait_in_the_order_they_came),
        TEST(shift_gives_a_piece_away),
        TEST(next_borrows_one_piece),
        TEST(take_splits_the_last_piece),
        TEST(take_of_part_of_the_first_piece_leaves_the_rest),
        TEST(take_of_everything_empties_the_queue),
        TEST(take_without_memory_moves_nothing),
        TEST(peek_consumes_nothing),
        TEST(peek_without_memory_borrows_nothing),
        TEST(skip_ends_at_any_byte),
        TEST(copy_crosses_pieces),
        TEST(compaction_frees_the_buffers_and_keeps_the_bytes),
        TEST(what_comes_after_a_compaction_joins_its_chunk),
        TEST(borrowed_parts_of_a_chunk_are_not_disturbed),
        TEST(compaction_after_the_compacted_part_was_read_starts_anew),
        TEST(a_long_stream_of_crumbs_stays_whole_and_small),
        TEST(compaction_without_memory_keeps_what_it_could_not_copy),
        TEST(compaction_that_stops_half_way_loses_and_doubles_nothing),
        TEST(gathering_puts_the_first_bytes_into_one_piece),
        TEST(gathering_stops_at_what_a_chunk_holds),
        TEST(gathering_without_memory_keeps_every_byte),
    };

    return cmocka_run_group_tests_name("input", tests, NULL, NULL);
}
