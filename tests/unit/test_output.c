/* The queue of staged bytes: order, one send at a time, what a short one leaves, reservations, and running out of memory. */
#include "core/output.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "core/lease.h"

enum { PIECES = 64 };

struct out_fixture {
    struct chunk_pool pool;
    struct lease_pool leases;
    struct output out;
    struct iovec pieces[PIECES];
};

static int setup(void **state)
{
    struct out_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    chunk_pool_init(&f->pool);
    lease_pool_init(&f->leases, NULL, &f->pool);
    output_init(&f->out);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct out_fixture *f = *state;

    output_deinit(&f->out, &f->pool);
    lease_pool_deinit(&f->leases); /* asserts that every lease came back */
    chunk_pool_deinit(&f->pool);   /* asserts that every chunk came back */
    free(f);
    return 0;
}

static void append(struct out_fixture *f, const char *text)
{
    assert_int_equal(output_append(&f->out, &f->pool, text, (uint32_t)strlen(text)), 0);
}

/* The bytes that the next send would take, as text. */
static const char *gathered(struct out_fixture *f)
{
    static char text[256];
    uint32_t count = output_gather(&f->out, f->pieces, PIECES);
    size_t len = 0;

    for (uint32_t i = 0; i < count; i++) {
        memcpy(text + len, f->pieces[i].iov_base, f->pieces[i].iov_len);
        len += f->pieces[i].iov_len;
    }
    text[len] = '\0';
    return text;
}

static void appended_bytes_leave_in_order(void **state)
{
    struct out_fixture *f = *state;

    append(f, "one ");
    append(f, "two");
    assert_int_equal(f->out.staged, 7);
    assert_string_equal(gathered(f), "one two");
    assert_int_equal(f->out.in_flight, 7);
    output_on_sent(&f->out, &f->pool, 7);
    assert_int_equal(f->out.staged, 0);
    assert_int_equal(f->out.in_flight, 0);
    assert_int_equal(chunk_pool_out(&f->pool), 0); /* an idle connection holds none */
}

static void appending_during_a_send_does_not_change_what_is_in_flight(void **state)
{
    struct out_fixture *f = *state;

    append(f, "first");
    assert_string_equal(gathered(f), "first");
    const void *lent = f->pieces[0].iov_base;
    append(f, "second");
    assert_memory_equal(lent, "first", 5);
    assert_int_equal(f->out.in_flight, 5);
    output_on_sent(&f->out, &f->pool, 5);
    assert_string_equal(gathered(f), "second");
    output_on_sent(&f->out, &f->pool, 6);
}

static void a_short_send_leaves_the_rest(void **state)
{
    struct out_fixture *f = *state;

    append(f, "abcdef");
    (void)gathered(f);
    output_on_sent(&f->out, &f->pool, 2);
    assert_int_equal(f->out.staged, 4);
    assert_string_equal(gathered(f), "cdef");
    output_on_sent(&f->out, &f->pool, 0);
    assert_string_equal(gathered(f), "cdef");
    output_on_sent(&f->out, &f->pool, 4);
}

static void a_short_send_can_end_inside_any_chunk(void **state)
{
    struct out_fixture *f = *state;
    const uint32_t total = 3 * CHUNK_LARGE_BYTES;
    uint8_t *bytes = malloc(total);
    uint32_t at = 0;

    assert_non_null(bytes);
    for (uint32_t i = 0; i < total; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(output_append(&f->out, &f->pool, bytes, total), 0);
    while (at < total) {
        uint32_t part = total - at < 50021 ? total - at : 50021;

        assert_true(output_gather(&f->out, f->pieces, PIECES) > 0);
        assert_int_equal(f->out.in_flight, total - at);
        assert_memory_equal(f->pieces[0].iov_base, bytes + at, f->pieces[0].iov_len);
        output_on_sent(&f->out, &f->pool, part);
        at += part;
    }
    assert_int_equal(f->out.staged, 0);
    free(bytes);
}

static void many_chunks_go_in_several_sends(void **state)
{
    struct out_fixture *f = *state;
    const uint32_t chunks = 5;
    uint8_t *bytes = calloc(chunks, CHUNK_LARGE_BYTES);

    assert_non_null(bytes);
    for (uint32_t i = 0; i < chunks; i++)
        assert_int_equal(output_append(&f->out, &f->pool, bytes, CHUNK_LARGE_BYTES), 0);
    assert_int_equal(output_gather(&f->out, f->pieces, 2), 2);
    assert_true(f->out.in_flight < f->out.staged);
    output_on_sent(&f->out, &f->pool, f->out.in_flight);
    assert_int_equal(output_gather(&f->out, f->pieces, PIECES), chunks - 2);
    output_on_sent(&f->out, &f->pool, f->out.in_flight);
    assert_int_equal(f->out.staged, 0);
    free(bytes);
}

static void nothing_staged_gathers_nothing(void **state)
{
    struct out_fixture *f = *state;

    assert_int_equal(output_gather(&f->out, f->pieces, PIECES), 0);
    assert_int_equal(output_append(&f->out, &f->pool, "", 0), 0);
    assert_int_equal(output_gather(&f->out, f->pieces, PIECES), 0);
}

static void a_reservation_is_staged_by_its_commit(void **state)
{
    struct out_fixture *f = *state;
    uint8_t *room = output_reserve(&f->out, &f->pool, 100);

    assert_non_null(room);
    memcpy(room, "hello", 5);
    assert_int_equal(f->out.staged, 0);
    assert_int_equal(output_commit(&f->out, 5), 0);
    assert_string_equal(gathered(f), "hello");
    output_on_sent(&f->out, &f->pool, 5);
}

static void a_reservation_behind_bytes_is_in_one_piece(void **state)
{
    struct out_fixture *f = *state;
    uint8_t *room;

    append(f, "head ");
    room = output_reserve(&f->out, &f->pool, CHUNK_LARGE_BYTES);
    assert_non_null(room);
    memset(room, 'x', CHUNK_LARGE_BYTES);
    assert_int_equal(output_commit(&f->out, CHUNK_LARGE_BYTES), 0);
    assert_int_equal(output_gather(&f->out, f->pieces, PIECES), 2);
    output_on_sent(&f->out, &f->pool, f->out.in_flight);
}

static void a_commit_without_or_beyond_a_reservation_is_refused(void **state)
{
    struct out_fixture *f = *state;

    assert_int_equal(output_commit(&f->out, 0), -ERANGE);
    assert_int_equal(output_commit(&f->out, 1), -ERANGE);
    assert_non_null(output_reserve(&f->out, &f->pool, 10));
    assert_int_equal(output_commit(&f->out, 11), -ERANGE);
    assert_int_equal(output_commit(&f->out, 10), 0);
    assert_int_equal(output_commit(&f->out, 1), -ERANGE); /* once */
    (void)gathered(f);
    output_on_sent(&f->out, &f->pool, 10);
}

static void an_append_forgets_the_reservation(void **state)
{
    struct out_fixture *f = *state;

    assert_non_null(output_reserve(&f->out, &f->pool, 10));
    append(f, "abc");
    assert_int_equal(output_commit(&f->out, 1), -ERANGE);
    assert_string_equal(gathered(f), "abc");
    output_on_sent(&f->out, &f->pool, 3);
}

static void a_send_that_ends_meanwhile_leaves_the_reservation(void **state)
{
    struct out_fixture *f = *state;
    uint8_t *room;

    append(f, "sent");
    (void)gathered(f);
    room = output_reserve(&f->out, &f->pool, 16);
    assert_non_null(room);
    output_on_sent(&f->out, &f->pool, 4);
    memcpy(room, "later", 5);
    assert_int_equal(output_commit(&f->out, 5), 0);
    assert_string_equal(gathered(f), "later");
    output_on_sent(&f->out, &f->pool, 5);
}

static void dropping_keeps_what_the_kernel_reads(void **state)
{
    struct out_fixture *f = *state;

    append(f, "lent");
    (void)gathered(f);
    append(f, " more");
    output_drop(&f->out, &f->pool);
    assert_int_equal(chunk_pool_out(&f->pool), 1);
    assert_memory_equal(f->pieces[0].iov_base, "lent", 4);
    output_on_sent(&f->out, &f->pool, 1);
    output_drop(&f->out, &f->pool);
    assert_int_equal(f->out.staged, 0);
    assert_int_equal(chunk_pool_out(&f->pool), 0);
}

static void an_append_that_finds_no_memory_appends_nothing(void **state)
{
    struct out_fixture *f = *state;
    const uint32_t len = 4 * CHUNK_LARGE_BYTES;
    uint8_t *bytes = calloc(1, len);

    assert_non_null(bytes);
    f->pool.large.taken_max = 2;
    assert_int_equal(output_append(&f->out, &f->pool, bytes, len), -ENOMEM);
    assert_int_equal(f->out.staged, 0);
    assert_int_equal(chunk_pool_out(&f->pool), 0);
    append(f, "abc");
    assert_int_equal(output_append(&f->out, &f->pool, bytes, len), -ENOMEM);
    assert_int_equal(f->out.staged, 3);
    assert_string_equal(gathered(f), "abc");
    assert_int_equal(output_append(&f->out, &f->pool, bytes, len), -ENOMEM); /* also while a send is in flight */
    output_on_sent(&f->out, &f->pool, 3);
    assert_null(f->out.first);
    free(bytes);
}

static void a_reservation_that_finds_no_memory_changes_nothing(void **state)
{
    struct out_fixture *f = *state;

    append(f, "abc");
    f->pool.large.taken_max = f->pool.large.taken;
    assert_null(output_reserve(&f->out, &f->pool, CHUNK_LARGE_BYTES));
    assert_int_equal(f->out.staged, 3);
    assert_string_equal(gathered(f), "abc");
    output_on_sent(&f->out, &f->pool, 3);
}

static void more_than_can_be_counted_is_refused(void **state)
{
    struct out_fixture *f = *state;

    append(f, "abc");
    assert_int_equal(output_append(&f->out, &f->pool, "", UINT32_MAX - 1), -ENOMEM);
    assert_int_equal(f->out.staged, 3);
}

/* ---- leased bytes ---- */

/* A lease on bytes that are held by a chunk: it ends as one on a receive buffer does. */
static struct lease *lease_of(struct out_fixture *f, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    struct chunk *chunk = chunk_new(&f->pool, len);
    struct lease *lease;

    assert_non_null(chunk);
    memcpy(chunk->data, text, len);
    chunk->end = len;
    lease = lease_new_chunk(&f->leases, chunk, chunk->data, len);
    assert_non_null(lease);
    chunk_release(&f->pool, chunk);
    return lease;
}

static void append_lease(struct out_fixture *f, const char *text)
{
    assert_int_equal(output_append_lease(&f->out, &f->pool, lease_of(f, text)), 0);
}

static void leased_bytes_are_sent_from_where_they_are(void **state)
{
    struct out_fixture *f = *state;
    struct lease *lease = lease_of(f, "leased");
    const uint8_t *data = lease->data;

    assert_int_equal(output_append_lease(&f->out, &f->pool, lease), 0);
    assert_int_equal(f->out.staged, 6);
    assert_int_equal(f->out.views, 1);
    assert_int_equal(output_gather(&f->out, f->pieces, PIECES), 1);
    assert_ptr_equal(f->pieces[0].iov_base, data);
    assert_int_equal(f->leases.slab.taken, 1);
    output_on_sent(&f->out, &f->pool, 6);
    assert_int_equal(f->leases.slab.taken, 0);
    assert_int_equal(f->out.views, 0);
    assert_int_equal(chunk_pool_out(&f->pool), 0);
}

static void leased_and_copied_bytes_keep_their_order_in_one_send(void **state)
{
    struct out_fixture *f = *state;

    append(f, "one ");
    append_lease(f, "two ");
    append(f, "three ");
    append(f, "four ");
    append_lease(f, "five ");
    append_lease(f, "six");
    assert_string_equal(gathered(f), "one two three four five six");
    assert_int_equal(f->out.in_flight, f->out.staged);
    output_on_sent(&f->out, &f->pool, f->out.in_flight);
}

static void a_short_send_can_end_inside_leased_bytes(void **state)
{
    struct out_fixture *f = *state;

    append(f, "ab");
    append_lease(f, "cdef");
    append_lease(f, "gh");
    (void)gathered(f);
    output_on_sent(&f->out, &f->pool, 3);
    assert_int_equal(f->leases.slab.taken, 2);
    assert_string_equal(gathered(f), "defgh");
    output_on_sent(&f->out, &f->pool, 3);
    assert_int_equal(f->leases.slab.taken, 1);
    assert_string_equal(gathered(f), "gh");
    output_on_sent(&f->out, &f->pool, 2);
}

static void a_reservation_behind_leased_bytes_has_a_chunk_of_its_own(void **state)
{
    struct out_fixture *f = *state;
    uint8_t *room;

    append_lease(f, "leased ");
    room = output_reserve(&f->out, &f->pool, 8);
    assert_non_null(room);
    memcpy(room, "reserved", 8);
    assert_int_equal(output_commit(&f->out, 8), 0);
    assert_string_equal(gathered(f), "leased reserved");
    output_on_sent(&f->out, &f->pool, f->out.in_flight);
}

static void dropping_ends_the_leases_but_for_those_in_flight(void **state)
{
    struct out_fixture *f = *state;

    append_lease(f, "queued");
    append(f, "copied");
    output_drop(&f->out, &f->pool);
    assert_int_equal(f->leases.slab.taken, 0);
    append_lease(f, "lent");
    (void)gathered(f);
    output_drop(&f->out, &f->pool);
    assert_int_equal(f->leases.slab.taken, 1);
    assert_memory_equal(f->pieces[0].iov_base, "lent", 4);
    output_on_sent(&f->out, &f->pool, 0);
    output_drop(&f->out, &f->pool);
    assert_int_equal(f->leases.slab.taken, 0);
}

static void a_lease_that_finds_no_memory_is_freed(void **state)
{
    struct out_fixture *f = *state;

    append_lease(f, "abc");
    f->pool.views.taken_max = 1;
    assert_int_equal(output_append_lease(&f->out, &f->pool, lease_of(f, "def")), -ENOMEM);
    assert_int_equal(f->leases.slab.taken, 1);
    assert_int_equal(f->out.staged, 3);
    assert_string_equal(gathered(f), "abc");
    output_on_sent(&f->out, &f->pool, 3);
}

static void an_append_without_memory_leaves_the_leased_bytes_before_it(void **state)
{
    struct out_fixture *f = *state;
    const uint32_t len = 4 * CHUNK_LARGE_BYTES;
    uint8_t *bytes = calloc(1, len);

    assert_non_null(bytes);
    append_lease(f, "abc");
    f->pool.large.taken_max = 1;
    assert_int_equal(output_append(&f->out, &f->pool, bytes, len), -ENOMEM);
    assert_string_equal(gathered(f), "abc");
    output_on_sent(&f->out, &f->pool, 3);
    free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(appended_bytes_leave_in_order),
        TEST(appending_during_a_send_does_not_change_what_is_in_flight),
        TEST(a_short_send_leaves_the_rest),
        TEST(a_short_send_can_end_inside_any_chunk),
        TEST(many_chunks_go_in_several_sends),
        TEST(nothing_staged_gathers_nothing),
        TEST(a_reservation_is_staged_by_its_commit),
        TEST(a_reservation_behind_bytes_is_in_one_piece),
        TEST(a_commit_without_or_beyond_a_reservation_is_refused),
        TEST(an_append_forgets_the_reservation),
        TEST(a_send_that_ends_meanwhile_leaves_the_reservation),
        TEST(dropping_keeps_what_the_kernel_reads),
        TEST(an_append_that_finds_no_memory_appends_nothing),
        TEST(a_reservation_that_finds_no_memory_changes_nothing),
        TEST(more_than_can_be_counted_is_refused),
        TEST(leased_bytes_are_sent_from_where_they_are),
        TEST(leased_and_copied_bytes_keep_their_order_in_one_send),
        TEST(a_short_send_can_end_inside_leased_bytes),
        TEST(a_reservation_behind_leased_bytes_has_a_chunk_of_its_own),
        TEST(dropping_ends_the_leases_but_for_those_in_flight),
        TEST(a_lease_that_finds_no_memory_is_freed),
        TEST(an_append_without_memory_leaves_the_leased_bytes_before_it),
    };

    return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
