/* A ring in which the test is the kernel; see fake_ring.h. */
#include "fake_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
    GROUPS_MAX = 8,
    FIRST_FD = 100000, /* far from descriptors a test may have open */
};

/* A registered buffer ring, seen from the kernel's side. */
struct group {
    struct ring_buffer *entries; /* NULL: not registered; borrowed */
    uint32_t count;
    uint16_t id;
    uint16_t head; /* entries used up, modulo 65536 */
    bool is_incremental;
};

struct ring {
    int fd;
    struct fake_sqe *sqes; /* owned, grows */
    uint32_t sqe_count;
    uint32_t sqe_room;
    uint32_t submitted;
    struct completion *completions; /* owned, grows; those before `reaped` are gone */
    uint32_t completion_count;
    uint32_t completion_room;
    uint32_t reaped;
    struct group groups[GROUPS_MAX];
    uint32_t waits;
    uint64_t last_timeout_ns;
    int wait_error;
    bool overflowed;
    bool refuses_incremental;
};

static uint32_t rings_open;
static int next_fd = FIRST_FD;
static int open_error;

static struct fake_sqe *add(struct ring *ring, enum fake_kind kind, uint64_t user_data, int fd);
static void *grown(void *items, uint32_t count, uint32_t *room, size_t item_bytes);
static void set_pieces(struct fake_sqe *sqe, const struct iovec *pieces, size_t count);
static struct group *group_of(struct ring *ring, uint16_t id);
static struct group *group_of_recv(struct ring *ring, uint64_t user_data);
static uint16_t group_left(const struct group *group);
static size_t fill_buffer(struct group *group, const void *bytes, size_t len, uint32_t *flags);

int ring_open(struct ring **out, const struct ring_options *options)
{
    struct ring *ring;

    assert(options->sq_entries > 0 && options->cq_entries >= options->sq_entries);
    if (open_error) {
        int error = open_error;

        open_error = 0;
        return error;
    }
    ring = calloc(1, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    ring->fd = next_fd++;
    rings_open++;
    *out = ring;
    return 0;
}

void ring_close(struct ring *ring)
{
    fake_ring_forget(ring);
    free(ring->sqes);
    free(ring->completions);
    free(ring);
    rings_open--;
}

int ring_fd(const struct ring *ring)
{
    return ring->fd;
}

void ring_add_accept(struct ring *ring, uint64_t user_data, int listen_fd)
{
    add(ring, FAKE_ACCEPT, user_data, listen_fd);
}

void ring_add_recv(struct ring *ring, uint64_t user_data, int fd, uint16_t buffer_group)
{
    add(ring, FAKE_RECV, user_data, fd)->buffer_group = buffer_group;
}

void ring_add_send(struct ring *ring, uint64_t user_data, int fd, const void *data, uint32_t len, enum ring_send how)
{
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct fake_sqe *sqe = add(ring, FAKE_SEND, user_data, fd);

    sqe->how = how;
    set_pieces(sqe, &piece, 1);
}

void ring_add_sendmsg(struct ring *ring, uint64_t user_data, int fd, const struct msghdr *msg, enum ring_send how)
{
    struct fake_sqe *sqe = add(ring, FAKE_SEND, user_data, fd);

    sqe->how = how;
    set_pieces(sqe, msg->msg_iov, msg->msg_iovlen);
}

void ring_add_connect(struct ring *ring, uint64_t user_data, int fd, const struct sockaddr *addr, socklen_t addr_len)
{
    assert(addr_len > 0);
    add(ring, FAKE_CONNECT, user_data, fd)->addr = addr;
}

void ring_add_close(struct ring *ring, uint64_t user_data, int fd)
{
    add(ring, FAKE_CLOSE, user_data, fd);
}

void ring_add_poll(struct ring *ring, uint64_t user_data, int fd, uint32_t events)
{
    add(ring, FAKE_POLL, user_data, fd)->events = events;
}

void ring_add_cancel(struct ring *ring, uint64_t user_data, uint64_t target_user_data)
{
    add(ring, FAKE_CANCEL, user_data, -1)->target_user_data = target_user_data;
}

void ring_add_eventfd_read(struct ring *ring, uint64_t user_data, int fd, uint64_t *value)
{
    add(ring, FAKE_EVENTFD_READ, user_data, fd)->value = value;
}

void ring_add_doorbell(struct ring *ring, uint64_t user_data, int target_ring_fd, uint64_t target_user_data)
{
    add(ring, FAKE_DOORBELL, user_data, target_ring_fd)->target_user_data = target_user_data;
}

int ring_submit_and_wait(struct ring *ring, uint64_t timeout_ns)
{
    int error = ring->wait_error;

    ring->waits++;
    ring->last_timeout_ns = timeout_ns;
    ring->wait_error = 0;
    return error ? error : ring_submit(ring);
}

bool ring_has_unsubmitted(const struct ring *ring) /* this kernel takes everything */
{
    (void)ring;
    return false;
}

int ring_submit(struct ring *ring)
{
    ring->submitted = ring->sqe_count;
    return 0;
}

uint32_t ring_reap(struct ring *ring, struct completion *out, uint32_t max)
{
    uint32_t count = fake_ring_pending(ring);

    if (count > max)
        count = max;
    if (count > 0)
        memcpy(out, ring->completions + ring->reaped, count * sizeof(*out));
    ring->reaped += count;
    if (ring->reaped == ring->completion_count) {
        ring->reaped = 0;
        ring->completion_count = 0;
    }
    return count;
}

bool ring_take_overflow(struct ring *ring)
{
    bool overflowed = ring->overflowed;

    ring->overflowed = false;
    return overflowed;
}

int ring_register_buffers(struct ring *ring, void *memory, uint32_t entries, uint16_t group, bool incremental)
{
    bool is_refused = incremental && ring->refuses_incremental;

    assert((uintptr_t)memory % 4096 == 0);
    assert(entries > 0 && (entries & (entries - 1)) == 0);
    ring->refuses_incremental = false;
    if (is_refused)
        return -EINVAL;
    if (group_of(ring, group))
        return -EEXIST;
    for (int i = 0; i < GROUPS_MAX; i++) {
        if (ring->groups[i].entries)
            continue;
        ring->groups[i] =
            (struct group){.entries = memory, .count = entries, .id = group, .is_incremental = incremental};
        return 0;
    }
    return -ENOMEM;
}

void ring_unregister_buffers(struct ring *ring, uint16_t group)
{
    struct group *found = group_of(ring, group);

    assert(found);
    found->entries = NULL;
}

const char *ring_flags_text(const struct ring *ring)
{
    (void)ring;
    return "FAKE";
}

bool ring_is_deferred(const struct ring *ring)
{
    (void)ring;
    return true;
}

bool ring_is_registered(const struct ring *ring)
{
    (void)ring;
    return true;
}

uint32_t fake_ring_queued(const struct ring *ring)
{
    return ring->sqe_count;
}

uint32_t fake_ring_submitted(const struct ring *ring)
{
    return ring->submitted;
}

const struct fake_sqe *fake_ring_sqe(const struct ring *ring, uint32_t index)
{
    assert(index < ring->sqe_count);
    return &ring->sqes[index];
}

const struct fake_sqe *fake_ring_find(const struct ring *ring, enum fake_kind kind, int fd)
{
    for (uint32_t i = ring->sqe_count; i > 0; i--) {
        const struct fake_sqe *sqe = &ring->sqes[i - 1];

        if (sqe->kind == kind && sqe->fd == fd)
            return sqe;
    }
    return NULL;
}

uint32_t fake_ring_count(const struct ring *ring, enum fake_kind kind)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < ring->sqe_count; i++)
        count += ring->sqes[i].kind == kind;
    return count;
}

size_t fake_ring_gather(const struct fake_sqe *sqe, void *out, size_t max)
{
    size_t gathered = 0;

    assert(sqe->kind == FAKE_SEND);
    for (uint32_t i = 0; i < sqe->piece_count && gathered < max; i++) {
        size_t len = sqe->pieces[i].iov_len;

        if (len > max - gathered)
            len = max - gathered;
        memcpy((char *)out + gathered, sqe->pieces[i].iov_base, len);
        gathered += len;
    }
    return gathered;
}

void fake_ring_forget(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->sqe_count; i++)
        free(ring->sqes[i].pieces);
    ring->sqe_count = 0;
    ring->submitted = 0;
}

void fake_ring_complete(struct ring *ring, uint64_t user_data, int32_t result, uint32_t flags)
{
    ring->completions =
        grown(ring->completions, ring->completion_count, &ring->completion_room, sizeof(*ring->completions));
    ring->completions[ring->completion_count++] =
        (struct completion){.user_data = user_data, .result = result, .flags = flags};
}

size_t fake_ring_recv(struct ring *ring, uint64_t user_data, const void *bytes, size_t len, enum fake_more more)
{
    struct group *group = group_of_recv(ring, user_data);
    size_t delivered = 0;

    assert(len > 0);
    while (delivered < len) {
        uint32_t flags;

        if (group_left(group) == 0) {
            fake_ring_complete(ring, user_data, -ENOBUFS, 0);
            return delivered;
        }
        size_t filled = fill_buffer(group, (const char *)bytes + delivered, len - delivered, &flags);
        delivered += filled;
        if (delivered < len || more == FAKE_MORE)
            flags |= COMPLETION_MORE;
        fake_ring_complete(ring, user_data, (int32_t)filled, flags);
    }
    return delivered;
}

void fake_ring_recv_end(struct ring *ring, uint64_t user_data)
{
    fake_ring_complete(ring, user_data, 0, 0);
}

uint32_t fake_ring_pending(const struct ring *ring)
{
    return ring->completion_count - ring->reaped;
}

uint32_t fake_ring_buffers(const struct ring *ring, uint16_t group)
{
    for (int i = 0; i < GROUPS_MAX; i++) {
        if (ring->groups[i].entries && ring->groups[i].id == group)
            return group_left(&ring->groups[i]);
    }
    return 0;
}

uint32_t fake_ring_waits(const struct ring *ring)
{
    return ring->waits;
}

uint64_t fake_ring_last_timeout_ns(const struct ring *ring)
{
    return ring->last_timeout_ns;
}

void fake_ring_fail_wait(struct ring *ring, int error)
{
    ring->wait_error = error;
}

void fake_ring_overflow(struct ring *ring)
{
    ring->overflowed = true;
}

void fake_ring_fail_open(int error)
{
    open_error = error;
}

void fake_ring_refuse_incremental(struct ring *ring)
{
    ring->refuses_incremental = true;
}

uint32_t fake_ring_open_count(void)
{
    return rings_open;
}

static struct fake_sqe *add(struct ring *ring, enum fake_kind kind, uint64_t user_data, int fd)
{
    ring->sqes = grown(ring->sqes, ring->sqe_count, &ring->sqe_room, sizeof(*ring->sqes));
    struct fake_sqe *sqe = &ring->sqes[ring->sqe_count++];

    *sqe = (struct fake_sqe){.kind = kind, .user_data = user_data, .fd = fd};
    return sqe;
}

/* The same items with room for one more. */
static void *grown(void *items, uint32_t count, uint32_t *room, size_t item_bytes)
{
    if (count < *room)
        return items;
    *room = *room ? *room * 2 : 64;
    items = realloc(items, *room * item_bytes);
    assert(items);
    return items;
}

static void set_pieces(struct fake_sqe *sqe, const struct iovec *pieces, size_t count)
{
    assert(count > 0 && count <= FAKE_PIECES_MAX);
    sqe->pieces = malloc(count * sizeof(*pieces));
    assert(sqe->pieces);
    memcpy(sqe->pieces, pieces, count * sizeof(*pieces));
    sqe->piece_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        sqe->bytes += pieces[i].iov_len;
}

static struct group *group_of(struct ring *ring, uint16_t id)
{
    for (int i = 0; i < GROUPS_MAX; i++) {
        if (ring->groups[i].entries && ring->groups[i].id == id)
            return &ring->groups[i];
    }
    return NULL;
}

/* The group the receive was queued with; for one that was never queued (or is forgotten) the first registered one. */
static struct group *group_of_recv(struct ring *ring, uint64_t user_data)
{
    struct group *group = NULL;

    for (uint32_t i = ring->sqe_count; i > 0 && !group; i--) {
        const struct fake_sqe *sqe = &ring->sqes[i - 1];

        if (sqe->kind == FAKE_RECV && sqe->user_data == user_data)
            group = group_of(ring, sqe->buffer_group);
    }
    for (int i = 0; i < GROUPS_MAX && !group; i++) {
        if (ring->groups[i].entries)
            group = &ring->groups[i];
    }
    assert(group);
    return group;
}

static uint16_t group_left(const struct group *group)
{
    return (uint16_t)(__atomic_load_n(&group->entries[0].tail, __ATOMIC_ACQUIRE) - group->head);
}

/* Copies what fits into the buffer at the head, as io_uring's kbuf.c does: a plain buffer is used up by any
 * receive, an incremental one moves its address and length in the ring until it is full. Returns the bytes
 * and the completion's flags. */
static size_t fill_buffer(struct group *group, const void *bytes, size_t len, uint32_t *flags)
{
    struct ring_buffer *entry = &group->entries[group->head & (group->count - 1)];
    size_t filled = len < entry->len ? len : entry->len;

    memcpy((void *)(uintptr_t)entry->addr, bytes, filled);
    *flags = COMPLETION_BUFFER | (uint32_t)entry->bid << COMPLETION_BUFFER_SHIFT;
    if (group->is_incremental && filled < entry->len) {
        entry->addr += filled;
        entry->len -= (uint32_t)filled;
        *flags |= COMPLETION_BUF_MORE;
        return filled;
    }
    group->head++;
    return filled;
}
