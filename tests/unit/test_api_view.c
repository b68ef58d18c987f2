/* Views and sequences: what may be read, across borders, and for how long. No Lua and no connection: the structs that Lua
 * would hold are filled by hand. */
#include "script/api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/lease.h"

enum { PIECES_MAX = 8 };

/* Leases on chunks, so that no ring is needed. */
struct view_fixture {
    struct chunk_pool chunks;
    struct lease_pool leases;
    struct lease_count count;
    struct lease *first; /* the borrowed chain */
    struct zerg_seq seq; /* of all of it */
};

static int setup(void **state)
{
    struct view_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    chunk_pool_init(&f->chunks);
    lease_pool_init(&f->leases, NULL, &f->chunks);
    *state = f;
    return 0;
}

/* As the next read of the connection does. */
static void end_borrow(struct view_fixture *f)
{
    lease_free_chain(f->first);
    f->first = NULL;
}

static int teardown(void **state)
{
    struct view_fixture *f = *state;

    end_borrow(f);
    lease_pool_deinit(&f->leases); /* asserts that every lease came back */
    chunk_pool_deinit(&f->chunks);
    free(f);
    return 0;
}

static struct lease *lease_on(struct view_fixture *f, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    struct chunk *chunk = chunk_new(&f->chunks, len);
    struct lease *lease;

    assert_non_null(chunk);
    memcpy(chunk->data, text, len);
    lease = lease_new_chunk(&f->leases, chunk, chunk->data, len);
    assert_non_null(lease);
    chunk_release(&f->chunks, chunk);
    lease_hold(lease, &f->count);
    return lease;
}

/* Borrows pieces, ended by NULL, as one sequence. */
static void borrow(struct view_fixture *f, const char *const pieces[])
{
    struct lease **link = &f->first;
    uint32_t len = 0;

    for (; *pieces; pieces++) {
        *link = lease_on(f, *pieces);
        len += (*link)->len;
        link = &(*link)->next;
    }
    f->seq = (struct zerg_seq){
        ._first = (struct zerg_lease *)(void *)f->first,
        ._generation = f->first->generation,
        ._len = len,
        ._kind = ZERG_SEQ_BORROWED,
    };
}

#define BORROW(f, ...) borrow(f, (const char *const[]){__VA_ARGS__, NULL})

static double find(const struct zerg_seq *seq, const char *needle, uint32_t from)
{
    return zerg_seq_find(seq, (const uint8_t *)needle, (uint32_t)strlen(needle), from);
}

/* All of a sequence as text. */
static const char *text_of(const struct zerg_seq *seq)
{
    static char text[256];

    assert_int_equal(zerg_seq_copy(seq, 0, seq->_len, (uint8_t *)text), ZERG_OK);
    text[seq->_len] = '\0';
    return text;
}

static struct zerg_seq slice_of(const struct zerg_seq *seq, uint32_t from, uint32_t len)
{
    struct zerg_seq slice;

    assert_int_equal(zerg_seq_slice(seq, from, len, &slice), ZERG_OK);
    return slice;
}

static struct zerg_view view_at(const struct zerg_seq *seq, uint32_t from)
{
    struct zerg_view view;

    assert_int_equal(zerg_seq_view_at(seq, from, &view), ZERG_OK);
    return view;
}

/* ---- reading across borders ---- */

static void copy_takes_any_range(void **state)
{
    struct view_fixture *f = *state;
    const char *whole = "abcdefghij";
    uint8_t out[16];

    BORROW(f, "a", "bcd", "ef", "ghij");
    for (uint32_t from = 0; from <= 10; from++) {
        for (uint32_t len = 0; from + len <= 10; len++) {
            assert_int_equal(zerg_seq_copy(&f->seq, from, len, out), ZERG_OK);
            assert_memory_equal(out, whole + from, len);
        }
    }
}

static void find_sees_what_spans_borders(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "he", "llo\r", "\n", "wor", "ld\r\n");
    assert_int_equal(find(&f->seq, "hello", 0), 0);
    assert_int_equal(find(&f->seq, "\r\n", 0), 5);
    assert_int_equal(find(&f->seq, "\r\n", 5), 5);
    assert_int_equal(find(&f->seq, "\r\n", 6), 12);
    assert_int_equal(find(&f->seq, "o\r\nwo", 0), 4);
    assert_int_equal(find(&f->seq, "l", 4), 10);
    assert_int_equal(find(&f->seq, "\n", 13), 13);
    assert_int_equal(find(&f->seq, "\n", 14), -1);
    assert_int_equal(find(&f->seq, "hello\r\nworld\r\n", 0), 0);
    assert_int_equal(find(&f->seq, "hello\r\nworld\r\n!", 0), -1);
    assert_int_equal(find(&f->seq, "x", 0), -1);
}

static void find_agrees_with_a_search_of_the_whole(void **state)
{
    struct view_fixture *f = *state;
    const char *whole = "aabaaabaabab";
    static const char *const needles[] = {"a", "b", "ab", "aab", "aaab", "abaab", "bab", "aabab", "bb", "aabaaabaabab"};

    BORROW(f, "a", "aba", "a", "a", "baab", "ab");
    for (size_t i = 0; i < sizeof(needles) / sizeof(needles[0]); i++) {
        for (uint32_t from = 0; from <= 12; from++) {
            const char *found = strstr(whole + from, needles[i]);

            assert_int_equal(find(&f->seq, needles[i], from), found ? found - whole : -1);
        }
    }
}

static void an_empty_needle_is_found_where_one_looks(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc");
    assert_int_equal(find(&f->seq, "", 0), 0);
    assert_int_equal(find(&f->seq, "", 3), 3);
    assert_int_equal(find(&f->seq, "", 4), -1);
    assert_int_equal(find(&f->seq, "a", 4), -1);
    assert_int_equal(find(&f->seq, "a", UINT32_MAX), -1);
}

static void slices_are_sequences(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "def", "ghi");
    struct zerg_seq slice = slice_of(&f->seq, 2, 5);
    assert_string_equal(text_of(&slice), "cdefg");
    assert_int_equal(find(&slice, "g", 0), 4);
    assert_int_equal(find(&slice, "h", 0), -1); /* clipped */
    struct zerg_seq inner = slice_of(&slice, 1, 3);
    assert_string_equal(text_of(&inner), "def");
    struct zerg_seq at_border = slice_of(&f->seq, 3, 3);
    assert_string_equal(text_of(&at_border), "def");
    struct zerg_seq none = slice_of(&f->seq, 9, 0);
    assert_null(none._first);
    assert_int_equal(zerg_seq_check(&none), ZERG_OK);
    assert_int_equal(find(&none, "a", 0), -1);
    assert_int_equal(find(&none, "", 0), 0);
}

static void ranges_are_checked(void **state)
{
    struct view_fixture *f = *state;
    struct zerg_seq slice;
    struct zerg_view view;

    BORROW(f, "abc", "def");
    assert_int_equal(zerg_seq_slice(&f->seq, 0, 7, &slice), ZERG_RANGE);
    assert_int_equal(zerg_seq_slice(&f->seq, 7, 0, &slice), ZERG_RANGE);
    assert_int_equal(zerg_seq_slice(&f->seq, 1, UINT32_MAX, &slice), ZERG_RANGE);
    assert_int_equal(zerg_seq_view_at(&f->seq, 6, &view), ZERG_RANGE);
}

static void views_are_the_pieces_of_a_sequence(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "de", "fgh");
    struct zerg_view view = view_at(&f->seq, 3);
    assert_int_equal(view._len, 2);
    assert_memory_equal(view._data, "de", 2);
    assert_int_equal(view._kind, ZERG_SEQ_BORROWED);
    view = view_at(&f->seq, 4);
    assert_int_equal(view._len, 1);
    assert_int_equal(view._kind, ZERG_SEQ_SLICE); /* part of a piece */
    struct zerg_seq slice = slice_of(&f->seq, 1, 6);
    view = view_at(&slice, 0);
    assert_memory_equal(view._data, "bc", 2);
    view = view_at(&slice, 4);
    assert_int_equal(view._len, 2);
    assert_memory_equal(view._data, "fg", 2); /* clipped by the slice */
}

/* ---- how long ---- */

static void nothing_is_valid_after_the_borrow_ended(void **state)
{
    struct view_fixture *f = *state;
    uint8_t out[8];

    BORROW(f, "abc", "def");
    struct zerg_seq slice = slice_of(&f->seq, 1, 4);
    struct zerg_view view = view_at(&f->seq, 0);
    end_borrow(f);
    assert_int_equal(zerg_seq_check(&f->seq), ZERG_RELEASED);
    assert_int_equal(zerg_seq_check(&slice), ZERG_RELEASED);
    assert_int_equal(zerg_seq_copy(&f->seq, 0, 1, out), ZERG_RELEASED);
    assert_int_equal(find(&f->seq, "a", 0), ZERG_RELEASED);
    assert_int_equal(zerg_seq_slice(&f->seq, 0, 1, &slice), ZERG_RELEASED);
    assert_int_equal(zerg_seq_retain(&f->seq), ZERG_RELEASED);
    assert_int_equal(zerg_view_retain(&view), ZERG_RELEASED);
    zerg_view_release(&view);
    zerg_seq_release(&f->seq);
}

static void what_the_memory_holds_next_is_never_seen(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "secret", "of one");
    struct zerg_seq old = f->seq;
    struct zerg_view view = view_at(&f->seq, 0);
    end_borrow(f);
    BORROW(f, "secret", "of another"); /* the same leases */
    assert_true(old._first == f->seq._first || old._first == f->seq._first->next);
    assert_int_equal(zerg_seq_check(&old), ZERG_RELEASED);
    zerg_seq_release(&old);
    zerg_view_release(&view);
    assert_int_equal(zerg_seq_check(&f->seq), ZERG_OK); /* untouched by the stale ones */
    assert_string_equal(text_of(&f->seq), "secretof another");
}

static void a_retained_sequence_outlives_the_borrow(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "def", "ghi");
    struct zerg_seq kept = slice_of(&f->seq, 2, 5);
    assert_int_equal(zerg_seq_retain(&kept), ZERG_OK);
    assert_int_equal(f->count.held, 6);
    end_borrow(f);
    assert_string_equal(text_of(&kept), "cdefg");
    assert_int_equal(zerg_seq_retain(&kept), ZERG_OK); /* idempotent */
    assert_int_equal(f->count.held, 3);
    zerg_seq_release(&kept);
    assert_int_equal(zerg_seq_check(&kept), ZERG_RELEASED);
    assert_int_equal(f->count.held, 0);
    zerg_seq_release(&kept);
    assert_int_equal(f->leases.slab.taken, 0);
}

static void a_retained_view_outlives_the_borrow(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abcdef");
    struct zerg_view view = view_at(&f->seq, 2);
    assert_int_equal(zerg_view_retain(&view), ZERG_OK);
    end_borrow(f);
    assert_memory_equal(view._data, "cdef", 4);
    assert_int_equal(view._lease->len, 4);
    assert_int_equal(zerg_view_retain(&view), ZERG_OK);
    zerg_view_release(&view);
    assert_int_equal(f->leases.slab.taken, 0);
    zerg_view_release(&view); /* idempotent, and again harmless when the memory has a new use */
    BORROW(f, "x");
    zerg_view_release(&view);
    assert_int_equal(zerg_seq_check(&f->seq), ZERG_OK);
}

static void releasing_a_borrowed_sequence_gives_its_pieces_back(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "def");
    zerg_seq_release(&f->seq);
    assert_int_equal(f->count.held, 0);
    assert_int_equal(chunk_pool_out(&f->chunks), 0);
    assert_int_equal(zerg_seq_check(&f->seq), ZERG_RELEASED);
    zerg_seq_release(&f->seq);
}

static void releasing_a_slice_ends_only_the_slice(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "def");
    struct zerg_seq slice = slice_of(&f->seq, 0, 6);
    zerg_seq_release(&slice);
    assert_int_equal(zerg_seq_check(&slice), ZERG_RELEASED);
    assert_string_equal(text_of(&f->seq), "abcdef");
    struct zerg_view part = view_at(&f->seq, 1);
    zerg_view_release(&part);
    assert_string_equal(text_of(&f->seq), "abcdef");
}

static void a_piece_that_was_released_alone_ends_what_contains_it(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "def", "ghi");
    struct zerg_view middle = view_at(&f->seq, 3);
    struct zerg_seq before = slice_of(&f->seq, 0, 3);
    zerg_view_release(&middle);
    assert_int_equal(f->count.held, 2);
    assert_int_equal(zerg_seq_check(&f->seq), ZERG_RELEASED);
    assert_int_equal(zerg_seq_check(&before), ZERG_OK);
    assert_int_equal(zerg_view_retain(&middle), ZERG_RELEASED);
    zerg_seq_release(&f->seq); /* the others all the same */
    assert_int_equal(f->count.held, 0);
}

static void a_retained_sequence_is_freed_whole_although_pieces_were_released(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "def");
    struct zerg_seq kept = f->seq;
    assert_int_equal(zerg_seq_retain(&kept), ZERG_OK);
    end_borrow(f);
    struct zerg_view first = view_at(&kept, 0);
    zerg_view_release(&first);
    assert_int_equal(zerg_seq_check(&kept), ZERG_RELEASED);
    zerg_seq_release(&kept);
    assert_int_equal(f->leases.slab.taken, 0);
    zerg_seq_release(&kept);
    BORROW(f, "x", "y");
    assert_int_equal(zerg_seq_check(&kept), ZERG_RELEASED);
}

static void retaining_without_memory_changes_nothing(void **state)
{
    struct view_fixture *f = *state;

    BORROW(f, "abc", "def");
    struct zerg_view view = view_at(&f->seq, 0);
    f->leases.slab.taken_max = f->leases.slab.taken + 1;
    assert_int_equal(zerg_seq_retain(&f->seq), ZERG_NO_MEMORY);
    assert_int_equal(f->seq._kind, ZERG_SEQ_BORROWED);
    assert_string_equal(text_of(&f->seq), "abcdef");
    f->leases.slab.taken_max = f->leases.slab.taken;
    assert_int_equal(zerg_view_retain(&view), ZERG_NO_MEMORY);
    assert_int_equal(view._kind, ZERG_SEQ_BORROWED);
    assert_int_equal(f->count.held, 2);
}

static void an_empty_sequence_can_do_everything(void **state)
{
    struct zerg_seq none = {0};
    uint8_t out;

    (void)state;
    assert_int_equal(zerg_seq_check(&none), ZERG_OK);
    assert_int_equal(zerg_seq_copy(&none, 0, 0, &out), ZERG_OK);
    assert_int_equal(zerg_seq_retain(&none), ZERG_OK);
    struct zerg_seq slice = slice_of(&none, 0, 0);
    zerg_seq_release(&slice);
    zerg_seq_release(&none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(copy_takes_any_range),
        TEST(find_sees_what_spans_borders),
        TEST(find_agrees_with_a_search_of_the_whole),
        TEST(an_empty_needle_is_found_where_one_looks),
        TEST(slices_are_sequences),
        TEST(ranges_are_checked),
        TEST(views_are_the_pieces_of_a_sequence),
        TEST(nothing_is_valid_after_the_borrow_ended),
        TEST(what_the_memory_holds_next_is_never_seen),
        TEST(a_retained_sequence_outlives_the_borrow),
        TEST(a_retained_view_outlives_the_borrow),
        TEST(releasing_a_borrowed_sequence_gives_its_pieces_back),
        TEST(releasing_a_slice_ends_only_the_slice),
        TEST(a_piece_that_was_released_alone_ends_what_contains_it),
        TEST(a_retained_sequence_is_freed_whole_although_pieces_were_released),
        TEST(retaining_without_memory_changes_nothing),
        TEST(an_empty_sequence_can_do_everything),
    };

    return cmocka_run_group_tests_name("api_view", tests, NULL, NULL);
}
