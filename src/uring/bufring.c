/* The provided-buffer ring; see bufring.h. Each buffer is in one of three states: on the free stack,
 * published (the kernel may write to it) or held (only leases keep it). A published buffer may have leases
 * too, on the part of it that was filled already (incremental rings). */
#include "uring/bufring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"

enum {
    BUFFER_BYTES_MIN = 1024,
    BUFFER_BYTES_MAX = 1024 * 1024,
    HUGE_PAGE_BYTES = 2 * 1024 * 1024,
    ENTRIES_MAX = 32768, /* the kernel's bound */
    /* The kernel goes round all published buffers, so these many are touched by the first traffic. 64 plain
     * ones of 16 KiB are 1 MiB: enough for one turn's receives of most loads. An incremental buffer takes
     * many receives; it needs a few, so that one is being filled while full ones wait for their readers. */
    TARGET_PLAIN = 64,
    TARGET_INCREMENTAL = 4,
    /* Only bulk runs large buffers dry, and it gains nothing from ever more of them: what was received would have left the
     * processor's cache before it is sent on. With less than this, small messages beside it would often find none. */
    INCREMENTAL_BYTES_MAX = 4 * 1024 * 1024,
};

#define NO_BUFFER UINT32_MAX

struct buffer {
    uint32_t filled; /* incremental: bytes the kernel has written so far, where the next ones will be */
    uint32_t leases;
    bool is_published;
};

struct bufring {
    struct ring *ring;                  /* borrowed */
    uint8_t *memory;                    /* owned: entries * buffer_bytes */
    struct ring_buffer *published_ring; /* owned; read by the kernel, and written by it when incremental */
    size_t ring_bytes;
    uint32_t entries;
    uint32_t buffer_bytes;
    uint16_t group;
    uint16_t tail; /* entries ever published, modulo 65536, as the kernel counts */
    bool is_incremental;
    bool is_registered;
    uint32_t current; /* incremental: the buffer the kernel filled last and has not let go of, or NO_BUFFER */
    uint32_t target;  /* as many are to be published */
    uint32_t target_max;
    uint32_t published;
    uint32_t free_count;
    uint32_t leases;
    uint16_t *free_bids;    /* owned: a stack */
    struct buffer *buffers; /* owned: by bid */
};

static void set_targets(struct bufring *bufs);
static int open_memory(struct bufring *bufs);
static void free_all(struct bufring *bufs);
static void kernel_let_go(struct bufring *bufs, uint32_t bid);
static void advance_current(struct bufring *bufs, uint32_t bid, bool more);
static void push_free(struct bufring *bufs, uint32_t bid);
static void *map(size_t bytes, int flags);

int bufring_open(struct bufring **out, struct ring *ring, uint16_t group, const struct bufring_options *options)
{
    uint32_t entries = options->entries;
    uint32_t buffer_bytes = options->buffer_bytes;
    struct bufring *bufs;
    int rc;

    assert(entries > 0 && entries <= ENTRIES_MAX && (entries & (entries - 1)) == 0);
    assert(buffer_bytes >= BUFFER_BYTES_MIN && buffer_bytes <= BUFFER_BYTES_MAX);
    assert((buffer_bytes & (buffer_bytes - 1)) == 0);
    bufs = calloc(1, sizeof(*bufs));
    if (!bufs)
        return -ENOMEM;
    bufs->ring = ring;
    bufs->entries = entries;
    bufs->buffer_bytes = buffer_bytes;
    bufs->group = group;
    bufs->is_incremental = options->incremental;
    bufs->current = NO_BUFFER;
    set_targets(bufs);

    rc = open_memory(bufs);
    if (rc < 0)
        goto fail;
    rc = ring_register_buffers(ring, bufs->published_ring, entries, group, options->incremental);
    if (rc < 0)
        goto fail;
    bufs->is_registered = true;
    for (uint32_t bid = entries; bid > 0; bid--) /* the lowest on top */
        push_free(bufs, bid - 1);
    bufring_publish(bufs);
    *out = bufs;
    return 0;

fail:
    free_all(bufs);
    return rc;
}

void bufring_close(struct bufring *bufs)
{
    assert(bufs->leases == 0);
    assert(bufs->free_count + bufs->published == bufs->entries);
    free_all(bufs);
}

bool bufring_take(struct bufring *bufs, const struct completion *completion, struct buf_piece *piece)
{
    uint32_t bid = completion->flags >> COMPLETION_BUFFER_SHIFT;
    uint32_t bytes = completion->result > 0 ? (uint32_t)completion->result : 0;
    bool more = bufs->is_incremental && (completion->flags & COMPLETION_BUF_MORE);

    assert(completion->flags & COMPLETION_BUFFER);
    assert(bid < bufs->entries);
    struct buffer *buffer = &bufs->buffers[bid];
    assert(buffer->is_published);
    assert(bytes <= bufs->buffer_bytes - buffer->filled);

    if (bytes > 0) {
        *piece = (struct buf_piece){
            .data = bufs->memory + (size_t)bid * bufs->buffer_bytes + buffer->filled,
            .len = bytes,
            .bid = (uint16_t)bid,
        };
        buffer->leases++;
        bufs->leases++;
    }
    if (bufs->is_incremental) {
        buffer->filled += bytes;
        advance_current(bufs, bid, more);
    }
    if (!more)
        kernel_let_go(bufs, bid);
    return bytes > 0;
}

void bufring_retain(struct bufring *bufs, uint16_t bid)
{
    assert(bid < bufs->entries && bufs->buffers[bid].leases > 0);
    bufs->buffers[bid].leases++;
    bufs->leases++;
}

void bufring_release(struct bufring *bufs, uint16_t bid)
{
    assert(bid < bufs->entries && bufs->buffers[bid].leases > 0);
    struct buffer *buffer = &bufs->buffers[bid];

    bufs->leases--;
    if (--buffer->leases == 0 && !buffer->is_published)
        push_free(bufs, bid);
}

uint32_t bufring_publish(struct bufring *bufs)
{
    uint32_t mask = bufs->entries - 1;
    uint32_t count = 0;

    while (bufs->published < bufs->target && bufs->free_count > 0) {
        uint16_t bid = bufs->free_bids[--bufs->free_count];
        struct ring_buffer *entry = &bufs->published_ring[(uint32_t)(bufs->tail + count) & mask];

        entry->addr = (uintptr_t)(bufs->memory + (size_t)bid * bufs->buffer_bytes);
        entry->len = bufs->buffer_bytes;
        entry->bid = bid; /* not entry->tail: in entry 0 that is the ring's */
        bufs->buffers[bid].filled = 0;
        bufs->buffers[bid].is_published = true;
        bufs->published++;
        count++;
    }
    if (count > 0) {
        bufs->tail = (uint16_t)(bufs->tail + count);
        __atomic_store_n(&bufs->published_ring[0].tail, bufs->tail, __ATOMIC_RELEASE);
    }
    return count;
}

void bufring_on_empty(struct bufring *bufs)
{
    bufs->target = bufs->target < bufs->target_max / 2 ? bufs->target * 2 : bufs->target_max;
}

uint32_t bufring_entries(const struct bufring *bufs)
{
    return bufs->entries;
}

uint32_t bufring_buffer_bytes(const struct bufring *bufs)
{
    return bufs->buffer_bytes;
}

bool bufring_is_incremental(const struct bufring *bufs)
{
    return bufs->is_incremental;
}

uint32_t bufring_free(const struct bufring *bufs)
{
    return bufs->free_count;
}

uint32_t bufring_held(const struct bufring *bufs)
{
    return bufs->entries - bufs->free_count - bufs->published;
}

uint32_t bufring_published(const struct bufring *bufs)
{
    return bufs->published;
}

uint32_t bufring_leases(const struct bufring *bufs)
{
    return bufs->leases;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void set_targets(struct bufring *bufs)
{
    uint32_t incremental_max = INCREMENTAL_BYTES_MAX / bufs->buffer_bytes;

    bufs->target = least(bufs->entries, bufs->is_incremental ? TARGET_INCREMENTAL : TARGET_PLAIN);
    bufs->target_max = bufs->is_incremental ? least(bufs->entries, incremental_max) : bufs->entries;
    if (bufs->target_max < bufs->target)
        bufs->target_max = bufs->target;
}

/* Nothing of the buffers is touched here: pages come with the first bytes the kernel writes. NORESERVE, so
 * that a large ring does not count against the machine's commit limit before it is used. Huge pages: the kernel copies
 * each received byte in, and those of a relay out again, and with small ones looks up 64 pages for a 256 KiB buffer. */
static int open_memory(struct bufring *bufs)
{
    size_t bytes = (size_t)bufs->entries * bufs->buffer_bytes;

    bufs->free_bids = calloc(bufs->entries, sizeof(*bufs->free_bids));
    bufs->buffers = calloc(bufs->entries, sizeof(*bufs->buffers));
    if (!bufs->free_bids || !bufs->buffers)
        return -ENOMEM;
    bufs->ring_bytes = bufs->entries * sizeof(struct ring_buffer);
    bufs->published_ring = map(bufs->ring_bytes, 0);
    bufs->memory = map(bytes, MAP_NORESERVE);
    if (!bufs->published_ring || !bufs->memory)
        return -ENOMEM;
    if (bytes >= HUGE_PAGE_BYTES)
        madvise(bufs->memory, bytes, MADV_HUGEPAGE); /* nothing is lost where it is refused */
    return 0;
}

static void free_all(struct bufring *bufs)
{
    if (bufs->is_registered)
        ring_unregister_buffers(bufs->ring, bufs->group);
    if (bufs->published_ring)
        munmap(bufs->published_ring, bufs->ring_bytes);
    if (bufs->memory)
        munmap(bufs->memory, (size_t)bufs->entries * bufs->buffer_bytes);
    free(bufs->free_bids);
    free(bufs->buffers);
    free(bufs);
}

static void kernel_let_go(struct bufring *bufs, uint32_t bid)
{
    struct buffer *buffer = &bufs->buffers[bid];

    assert(bufs->published > 0);
    buffer->is_published = false;
    bufs->published--;
    if (buffer->leases == 0)
        push_free(bufs, bid);
}

/* The kernel fills one buffer after the other. From the completions alone its last one may look unfinished
 * although the kernel has gone on to the next (rings with a least free size, axboe in liburing issue 1433):
 * a new bid ends the old one. */
static void advance_current(struct bufring *bufs, uint32_t bid, bool more)
{
    uint32_t previous = bufs->current;

    bufs->current = more ? bid : NO_BUFFER;
    if (previous != NO_BUFFER && previous != bid)
        kernel_let_go(bufs, previous);
}

static void push_free(struct bufring *bufs, uint32_t bid)
{
    assert(bufs->free_count < bufs->entries);
    bufs->free_bids[bufs->free_count++] = (uint16_t)bid;
}

/* Zeroed pages, page-aligned; NULL when the kernel gives none. */
static void *map(size_t bytes, int flags)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}
