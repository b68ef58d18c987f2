/* Accounting of the buffer ring, on the fake ring and with hand-made completions; and both kinds on the
 * kernel's ring in test_bufring_kernel.c. Every test ends with the conservation check of bufring_close(). */
#include "uring/bufring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"

enum { GROUP = 1, BUFFER_BYTES = 1024, USER = 42 };

struct fixture {
    struct ring *ring;
    struct bufring *bufs;
};

static struct fixture *open_fixture(uint32_t entries, bool incremental)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    const struct bufring_options buffers = {.buffer_bytes = BUFFER_BYTES,
                                            .entries = entries,
                                            .incremental = incremental};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    assert_int_equal(bufring_open(&f->bufs, f->ring, GROUP, &buffers), 0);
    return f;
}

static void close_fixture(struct fixture *f)
{
    bufring_close(f->bufs);
    ring_close(f->ring);
    free(f);
    assert_int_equal(fake_ring_open_count(), 0);
}

/* Bytes arrive and are taken. Returns whether there was a piece. */
static bool feed(struct fixture *f, const char *text, struct buf_piece *piece)
{
    struct completion completion;

    *piece = (struct buf_piece){0};
    fake_ring_recv(f->ring, USER, text, strlen(text), FAKE_MORE);
    assert_int_equal(ring_reap(f->ring, &completion, 1), 1);
    assert_int_equal(fake_ring_pending(f->ring), 0);
    return (completion.flags & COMPLETION_BUFFER) && bufring_take(f->bufs, &completion, piece);
}

static bool take_by_hand(struct fixture *f, uint16_t bid, int32_t result, uint32_t flags, struct buf_piece *piece)
{
    const struct completion completion = {
        .user_data = USER,
        .result = result,
        .flags = flags | COMPLETION_BUFFER | (uint32_t)bid << COMPLETION_BUFFER_SHIFT,
    };

    *piece = (struct buf_piece){0};
    return bufring_take(f->bufs, &completion, piece);
}

static void assert_counts(const struct fixture *f, uint32_t free_count, uint32_t published, uint32_t leases)
{
    assert_int_equal(bufring_free(f->bufs), free_count);
    assert_int_equal(bufring_published(f->bufs), published);
    assert_int_equal(bufring_leases(f->bufs), leases);
}

static void publishes_few_at_first(void **state)
{
    struct fixture *f = open_fixture(1024, false);

    (void)state;
    assert_counts(f, 960, 64, 0);
    assert_int_equal(fake_ring_buffers(f->ring, GROUP), 64);
    assert_int_equal(bufring_publish(f->bufs), 0);
    close_fixture(f);
    f = open_fixture(1024, true);
    assert_counts(f, 1020, 4, 0);
    close_fixture(f);
    f = open_fixture(1, false);
    assert_counts(f, 0, 1, 0);
    close_fixture(f);
}

static void a_plain_buffer_goes_round(void **state)
{
    struct fixture *f = open_fixture(128, false);
    struct buf_piece piece;

    (void)state;
    assert_true(feed(f, "hello", &piece));
    assert_int_equal(piece.len, 5);
    assert_memory_equal(piece.data, "hello", 5);
    assert_counts(f, 64, 63, 1);
    bufring_retain(f->bufs, piece.bid);
    bufring_release(f->bufs, piece.bid);
    assert_counts(f, 64, 63, 1);
    bufring_release(f->bufs, piece.bid);
    assert_counts(f, 65, 63, 0);
    assert_int_equal(bufring_publish(f->bufs), 1);
    assert_counts(f, 64, 64, 0);
    close_fixture(f);
}

static void the_hottest_buffer_is_published_first(void **state)
{
    struct fixture *f = open_fixture(128, false);
    struct buf_piece piece;
    uint16_t first_bid;

    (void)state;
    assert_true(feed(f, "a", &piece));
    first_bid = piece.bid;
    bufring_release(f->bufs, piece.bid);
    assert_int_equal(bufring_publish(f->bufs), 1);
    for (int i = 0; i < 63; i++) {
        assert_true(feed(f, "b", &piece));
        assert_int_not_equal(piece.bid, first_bid);
        bufring_release(f->bufs, piece.bid);
    }
    assert_true(feed(f, "c", &piece));
    assert_int_equal(piece.bid, first_bid);
    bufring_release(f->bufs, piece.bid);
    close_fixture(f);
}

static void a_buffer_without_bytes_is_free_at_once(void **state)
{
    struct fixture *f = open_fixture(2, false);
    struct buf_piece piece;

    (void)state;
    assert_false(take_by_hand(f, 0, 0, 0, &piece));
    assert_counts(f, 1, 1, 0);
    assert_false(take_by_hand(f, 1, -ECONNRESET, 0, &piece));
    assert_counts(f, 2, 0, 0);
    close_fixture(f);
}

static void running_dry_doubles_what_is_published(void **state)
{
    struct fixture *f = open_fixture(256, false);
    struct buf_piece pieces[65];
    struct completion completion;

    (void)state;
    for (int i = 0; i < 64; i++)
        assert_true(feed(f, "x", &pieces[i]));
    assert_false(feed(f, "x", &pieces[64]));
    bufring_on_empty(f->bufs);
    assert_int_equal(bufring_publish(f->bufs), 128);
    assert_counts(f, 64, 128, 64);
    bufring_on_empty(f->bufs);
    bufring_on_empty(f->bufs);
    assert_int_equal(bufring_publish(f->bufs), 64);
    assert_counts(f, 0, 192, 64);
    for (int i = 0; i < 64; i++)
        bufring_release(f->bufs, pieces[i].bid);
    assert_int_equal(bufring_publish(f->bufs), 64);
    assert_counts(f, 0, 256, 0);
    assert_int_equal(ring_reap(f->ring, &completion, 1), 0);
    close_fixture(f);
}

static void of_large_incremental_buffers_only_some_are_ever_published(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    const struct bufring_options buffers = {.buffer_bytes = 256 * 1024, .entries = 64, .incremental = true};
    struct bufring *bufs;
    struct ring *ring;

    (void)state;
    assert_int_equal(ring_open(&ring, &options), 0);
    assert_int_equal(bufring_open(&bufs, ring, GROUP, &buffers), 0);
    assert_int_equal(bufring_published(bufs), 4);
    for (int i = 0; i < 8; i++) {
        bufring_on_empty(bufs);
        bufring_publish(bufs);
    }
    assert_int_equal(bufring_published(bufs), 16);
    bufring_close(bufs);
    ring_close(ring);
}

static void the_ring_goes_round_its_end_many_times(void **state)
{
    struct fixture *f = open_fixture(4, false);
    struct buf_piece piece;

    (void)state;
    for (int i = 0; i < 200000; i++) { /* the 16-bit tail goes round too */
        assert_true(feed(f, "x", &piece));
        bufring_release(f->bufs, piece.bid);
        bufring_publish(f->bufs);
    }
    assert_counts(f, 0, 4, 0);
    close_fixture(f);
}

static void incremental_pieces_share_a_buffer(void **state)
{
    struct fixture *f = open_fixture(8, true);
    struct buf_piece first;
    struct buf_piece second;

    (void)state;
    assert_true(feed(f, "one", &first));
    assert_true(feed(f, "three", &second));
    assert_int_equal(second.bid, first.bid);
    assert_ptr_equal(second.data, first.data + 3);
    assert_memory_equal(first.data, "onethree", 8);
    assert_counts(f, 4, 4, 2);
    bufring_release(f->bufs, first.bid);
    bufring_release(f->bufs, second.bid);
    assert_counts(f, 4, 4, 0); /* still the kernel's */
    close_fixture(f);
}

static void a_full_incremental_buffer_is_free_when_its_leases_end(void **state)
{
    struct fixture *f = open_fixture(8, true);
    struct buf_piece piece;
    struct buf_piece last;
    char text[BUFFER_BYTES + 1];

    (void)state;
    memset(text, 'x', BUFFER_BYTES);
    text[BUFFER_BYTES - 1] = '\0';
    assert_true(feed(f, text, &piece));
    assert_true(feed(f, "y", &last));
    assert_int_equal(last.bid, piece.bid);
    assert_counts(f, 4, 3, 2);
    bufring_release(f->bufs, piece.bid);
    assert_counts(f, 4, 3, 1);
    bufring_release(f->bufs, last.bid);
    assert_counts(f, 5, 3, 0);
    assert_int_equal(bufring_publish(f->bufs), 1);
    assert_true(feed(f, "next", &piece));
    assert_int_not_equal(piece.bid, last.bid);
    bufring_release(f->bufs, piece.bid);
    close_fixture(f);
}

static void a_reused_incremental_buffer_starts_at_its_beginning(void **state)
{
    struct fixture *f = open_fixture(1, true);
    struct buf_piece piece;
    char text[BUFFER_BYTES + 1];

    (void)state;
    memset(text, 'x', BUFFER_BYTES);
    text[BUFFER_BYTES] = '\0';
    for (int i = 0; i < 5; i++) {
        assert_true(feed(f, text, &piece));
        assert_int_equal(piece.len, BUFFER_BYTES);
        assert_memory_equal(piece.data, text, BUFFER_BYTES);
        bufring_release(f->bufs, piece.bid);
        assert_int_equal(bufring_publish(f->bufs), 1);
    }
    close_fixture(f);
}

static void a_new_bid_ends_the_old_one(void **state)
{
    struct fixture *f = open_fixture(4, true);
    struct buf_piece old;
    struct buf_piece new;

    (void)state;
    assert_true(take_by_hand(f, 0, 1000, COMPLETION_BUF_MORE, &old));
    assert_counts(f, 0, 4, 1);
    assert_true(take_by_hand(f, 1, 10, COMPLETION_BUF_MORE, &new));
    assert_counts(f, 0, 3, 2);
    bufring_release(f->bufs, old.bid);
    assert_counts(f, 1, 3, 1);
    bufring_release(f->bufs, new.bid);
    assert_counts(f, 1, 3, 0);
    close_fixture(f);
}

static void an_end_of_stream_with_a_buffer_keeps_its_place(void **state)
{
    struct fixture *f = open_fixture(4, true);
    struct buf_piece first;
    struct buf_piece second;

    (void)state;
    assert_true(take_by_hand(f, 2, 10, COMPLETION_BUF_MORE, &first));
    assert_false(take_by_hand(f, 2, 0, COMPLETION_BUF_MORE, &second));
    assert_true(take_by_hand(f, 2, 10, COMPLETION_BUF_MORE, &second));
    assert_ptr_equal(second.data, first.data + 10);
    bufring_release(f->bufs, first.bid);
    bufring_release(f->bufs, second.bid);
    assert_counts(f, 0, 4, 0);
    close_fixture(f);
}

static void what_the_kernel_refuses_is_reported(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    const struct bufring_options buffers = {.buffer_bytes = BUFFER_BYTES, .entries = 4, .incremental = true};
    struct ring *ring;
    struct bufring *bufs;

    (void)state;
    assert_int_equal(ring_open(&ring, &options), 0);
    fake_ring_refuse_incremental(ring);
    assert_int_equal(bufring_open(&bufs, ring, GROUP, &buffers), -EINVAL);
    assert_int_equal(bufring_open(&bufs, ring, GROUP, &buffers), 0);
    assert_true(bufring_is_incremental(bufs));
    assert_int_equal(bufring_entries(bufs), 4);
    assert_int_equal(bufring_buffer_bytes(bufs), BUFFER_BYTES);
    bufring_close(bufs);
    ring_close(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_few_at_first),
        cmocka_unit_test(a_plain_buffer_goes_round),
        cmocka_unit_test(the_hottest_buffer_is_published_first),
        cmocka_unit_test(a_buffer_without_bytes_is_free_at_once),
        cmocka_unit_test(running_dry_doubles_what_is_published),
        cmocka_unit_test(of_large_incremental_buffers_only_some_are_ever_published),
        cmocka_unit_test(the_ring_goes_round_its_end_many_times),
        cmocka_unit_test(incremental_pieces_share_a_buffer),
        cmocka_unit_test(a_full_incremental_buffer_is_free_when_its_leases_end),
        cmocka_unit_test(a_reused_incremental_buffer_starts_at_its_beginning),
        cmocka_unit_test(a_new_bid_ends_the_old_one),
        cmocka_unit_test(an_end_of_stream_with_a_buffer_keeps_its_place),
        cmocka_unit_test(what_the_kernel_refuses_is_reported),
    };

    return cmocka_run_group_tests_name("bufring", tests, NULL, NULL);
}
