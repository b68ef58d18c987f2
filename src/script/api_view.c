/* The part of api.h about views and sequences: they stand on leases alone and need no connection. */
#include <string.h>

#include "base/assert.h"
#include "core/lease.h"
#include "script/api.h"

static_assert(offsetof(struct zerg_lease, data) == offsetof(struct lease, data), "same layout");
static_assert(offsetof(struct zerg_lease, len) == offsetof(struct lease, len), "same layout");
static_assert(offsetof(struct zerg_lease, generation) == offsetof(struct lease, generation), "same layout");
static_assert(offsetof(struct zerg_lease, next) == offsetof(struct lease, next), "same layout");

static struct lease *lease_of(struct zerg_lease *lease)
{
    return (struct lease *)(void *)lease;
}

static struct zerg_lease *zerg_lease_of(struct lease *lease)
{
    return (struct zerg_lease *)(void *)lease;
}

/* ---- views ---- */

static bool view_is_valid(const struct zerg_view *view)
{
    return view->_lease->generation == view->_generation;
}

int zerg_view_retain(struct zerg_view *view)
{
    struct lease *lease = lease_of(view->_lease);
    struct lease *own;

    if (!view_is_valid(view))
        return ZERG_RELEASED;
    if (view->_kind == ZERG_SEQ_RETAINED)
        return ZERG_OK;
    own = lease_retain(lease, (uint32_t)(view->_data - lease->data), view->_len);
    if (!own)
        return ZERG_NO_MEMORY;
    view->_data = own->data;
    view->_lease = zerg_lease_of(own);
    view->_generation = own->generation;
    view->_kind = ZERG_SEQ_RETAINED;
    return ZERG_OK;
}

void zerg_view_release(struct zerg_view *view)
{
    if (!view_is_valid(view))
        return;
    if (view->_kind == ZERG_SEQ_BORROWED)
        lease_drop(lease_of(view->_lease));
    else if (view->_kind == ZERG_SEQ_RETAINED)
        lease_free(lease_of(view->_lease));
    view->_generation--; /* this object is done with, whatever becomes of the lease */
}

/* ---- sequences ---- */

/* Where a sequence's bytes lie: the current piece, the part of it that belongs to the sequence, and what comes after. */
struct cursor {
    const struct zerg_lease *lease;
    const uint8_t *data;
    uint32_t len;  /* of this part */
    uint32_t left; /* bytes after this part */
};

static void cursor_clip(struct cursor *cursor, uint32_t offset, uint32_t left)
{
    uint32_t room = cursor->lease->len - offset;

    cursor->data = cursor->lease->data + offset;
    cursor->len = left < room ? left : room;
    cursor->left = left - cursor->len;
}

static struct cursor cursor_first(const struct zerg_seq *seq)
{
    struct cursor cursor = {.lease = seq->_first};

    if (seq->_first)
        cursor_clip(&cursor, seq->_offset, seq->_len);
    return cursor;
}

static bool cursor_next(struct cursor *cursor)
{
    if (cursor->left == 0)
        return false;
    cursor->lease = cursor->lease->next;
    cursor_clip(cursor, 0, cursor->left);
    return true;
}

/* Moves to the piece that holds position `from` and clips it there; from is within the sequence. */
static struct cursor cursor_at(const struct zerg_seq *seq, uint32_t from)
{
    struct cursor cursor = cursor_first(seq);

    while (from >= cursor.len) {
        from -= cursor.len;
        if (!cursor_next(&cursor))
            break;
    }
    cursor.data += from;
    cursor.len -= from;
    return cursor;
}

int zerg_seq_check(const struct zerg_seq *seq)
{
    struct cursor cursor;

    if (!seq->_first)
        return ZERG_OK;
    if (seq->_first->generation != seq->_generation)
        return ZERG_RELEASED;
    cursor = cursor_first(seq);
    do {
        if (!cursor.lease->data)
            return ZERG_RELEASED;
    } while (cursor_next(&cursor));
    return ZERG_OK;
}

int zerg_seq_copy(const struct zerg_seq *seq, uint32_t from, uint32_t len, uint8_t *out)
{
    struct cursor cursor;
    int rc = zerg_seq_check(seq);

    if (rc < 0 || len == 0)
        return rc;
    cursor = cursor_at(seq, from);
    do {
        uint32_t part = len < cursor.len ? len : cursor.len;

        memcpy(out, cursor.data, part);
        out += part;
        len -= part;
    } while (len > 0 && cursor_next(&cursor));
    return ZERG_OK;
}

/* True when the bytes from position at of the cursor's piece on are the needle. */
static bool matches_across(struct cursor cursor, uint32_t at, const uint8_t *needle, uint32_t needle_len)
{
    while (needle_len > 0) {
        uint32_t part = cursor.len - at;

        if (part > needle_len)
            part = needle_len;
        if (memcmp(cursor.data + at, needle, part) != 0)
            return false;
        needle += part;
        needle_len -= part;
        at = 0;
        if (needle_len > 0 && !cursor_next(&cursor))
            return false;
    }
    return true;
}

/* Position within the cursor's piece of a match that starts there, or its length when there is none. */
static uint32_t find_in_piece(const struct cursor *cursor, const uint8_t *needle, uint32_t needle_len)
{
    const uint8_t *found = memmem(cursor->data, cursor->len, needle, needle_len);
    uint32_t from;

    if (found)
        return (uint32_t)(found - cursor->data);
    from = cursor->len >= needle_len ? cursor->len - needle_len + 1 : 0;
    for (; from < cursor->len; from++) {
        if (matches_across(*cursor, from, needle, needle_len))
            return from;
    }
    return cursor->len;
}

double zerg_seq_find(const struct zerg_seq *seq, const uint8_t *needle, uint32_t needle_len, uint32_t from)
{
    struct cursor cursor;
    int rc = zerg_seq_check(seq);

    if (rc < 0)
        return rc;
    if (from > seq->_len || needle_len > seq->_len - from)
        return -1;
    if (needle_len == 0)
        return from;
    cursor = cursor_at(seq, from);
    do {
        uint32_t at = find_in_piece(&cursor, needle, needle_len);

        if (at < cursor.len)
            return from + at;
        from += cursor.len;
    } while (cursor_next(&cursor));
    return -1;
}

int zerg_seq_view_at(const struct zerg_seq *seq, uint32_t from, struct zerg_view *out)
{
    struct cursor cursor;
    int rc = zerg_seq_check(seq);
    bool is_whole;

    if (rc < 0)
        return rc;
    if (from >= seq->_len)
        return ZERG_RANGE;
    cursor = cursor_at(seq, from);
    is_whole = cursor.data == cursor.lease->data && cursor.len == cursor.lease->len;
    out->_data = cursor.data;
    out->_len = cursor.len;
    out->_generation = cursor.lease->generation;
    out->_lease = (struct zerg_lease *)cursor.lease;
    /* Releasing the view of a whole piece gives its buffer back; a part of one must not take the rest along. */
    out->_kind = is_whole && seq->_kind != ZERG_SEQ_SLICE ? ZERG_SEQ_BORROWED : ZERG_SEQ_SLICE;
    return ZERG_OK;
}

int zerg_seq_slice(const struct zerg_seq *seq, uint32_t from, uint32_t len, struct zerg_seq *out)
{
    struct cursor cursor;
    int rc = zerg_seq_check(seq);

    if (rc < 0)
        return rc;
    if (from > seq->_len || len > seq->_len - from)
        return ZERG_RANGE;
    *out = (struct zerg_seq){0};
    if (len == 0)
        return ZERG_OK;
    cursor = cursor_at(seq, from);
    out->_first = (struct zerg_lease *)cursor.lease;
    out->_generation = cursor.lease->generation;
    out->_offset = (uint32_t)(cursor.data - cursor.lease->data);
    out->_len = len;
    out->_kind = ZERG_SEQ_SLICE;
    return ZERG_OK;
}

/* Leases of its own on exactly the sequence's bytes, linked. NULL without memory. */
static struct lease *clone_chain(const struct zerg_seq *seq)
{
    struct cursor cursor = cursor_first(seq);
    struct lease *first = NULL;
    struct lease **link = &first;

    do {
        const struct lease *lease = (const struct lease *)(const void *)cursor.lease;

        *link = lease_retain(lease, (uint32_t)(cursor.data - lease->data), cursor.len);
        if (!*link) {
            lease_free_chain(first);
            return NULL;
        }
        link = &(*link)->next;
    } while (cursor_next(&cursor));
    return first;
}

int zerg_seq_retain(struct zerg_seq *seq)
{
    struct lease *own;
    int rc = zerg_seq_check(seq);

    if (rc < 0 || seq->_kind == ZERG_SEQ_RETAINED || !seq->_first)
        return rc;
    own = clone_chain(seq);
    if (!own)
        return ZERG_NO_MEMORY;
    seq->_first = zerg_lease_of(own);
    seq->_generation = own->generation;
    seq->_offset = 0;
    seq->_kind = ZERG_SEQ_RETAINED;
    return ZERG_OK;
}

static void drop_pieces(const struct zerg_seq *seq)
{
    struct cursor cursor = cursor_first(seq);

    do {
        lease_drop((struct lease *)(void *)cursor.lease);
    } while (cursor_next(&cursor));
}

void zerg_seq_release(struct zerg_seq *seq)
{
    struct lease *first = lease_of(seq->_first);

    if (!first)
        return;
    /* A retained chain is freed even when its first piece was released on its own before: nobody else has it. */
    if (seq->_kind == ZERG_SEQ_RETAINED)
        lease_free_chain(first);
    else if (seq->_kind == ZERG_SEQ_BORROWED && first->generation == seq->_generation)
        drop_pieces(seq);
    else if (first->generation != seq->_generation)
        return;
    seq->_kind = ZERG_SEQ_SLICE;
    seq->_generation = first->generation - 1;
}
