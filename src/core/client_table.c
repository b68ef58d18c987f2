/* See client_table.h. The low bits of an address's hash choose the shard, the high ones the bucket in it. Buckets double when
 * there are as many clients, one shard at a time, so that no lock is held for long. They, and the memory of clients, are
 * kept for the next crowd. */
#include "core/client_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/slab.h"

enum { SHARDS = 64, BUCKETS_FIRST = 16, BLOCK_BYTES = 4096 };

/* What addresses are told apart by. */
struct network {
    uint64_t bits; /* all of an IPv4 address, the first half of an IPv6 address */
    bool is_ipv6;
};

struct client {
    struct client *next; /* in its bucket */
    struct network network;
    uint32_t connections; /* at least 1 */
};

struct shard {
    pthread_mutex_t lock; /* held to touch anything below, and connections of its clients */
    struct slab clients;
    struct client **buckets; /* owned */
    uint32_t bucket_count;   /* 0 before the first client, then a power of two */
} __attribute__((aligned(CACHE_LINE_BYTES)));

struct client_table {
    struct shard shards[SHARDS];
    uint64_t seed; /* of the hash: strangers choose the keys, and must not know which ones meet */
};

static_assert((SHARDS & (SHARDS - 1)) == 0, "a shard is chosen by a mask");

int client_table_new(struct client_table **out)
{
    struct client_table *table = aligned_alloc(CACHE_LINE_BYTES, sizeof(*table));

    if (!table)
        return -ENOMEM;
    memset(table, 0, sizeof(*table));
    if (getrandom(&table->seed, sizeof(table->seed), 0) < 0) {
        int error = errno;

        free(table);
        return -error;
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&table->shards[i].lock, NULL);
        slab_init(&table->shards[i].clients, sizeof(struct client), BLOCK_BYTES / sizeof(struct client), 0);
    }
    *out = table;
    return 0;
}

void client_table_free(struct client_table *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; i < SHARDS; i++) {
        slab_deinit(&table->shards[i].clients);
        free(table->shards[i].buckets);
        pthread_mutex_destroy(&table->shards[i].lock);
    }
    free(table);
}

/* ---- finding ---- */

/* False for what is neither IPv4 nor IPv6. */
static bool network_of(const struct addr *addr, struct network *out)
{
    const uint8_t *bytes = addr->in6.sin6_addr.s6_addr;
    uint32_t ipv4;

    *out = (struct network){0};
    if (addr->sa.sa_family == AF_INET) {
        out->bits = addr->in4.sin_addr.s_addr;
    } else if (addr->sa.sa_family != AF_INET6) {
        return false;
    } else if (IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr)) {
        memcpy(&ipv4, bytes + 12, sizeof(ipv4));
        out->bits = ipv4;
    } else {
        memcpy(&out->bits, bytes, sizeof(out->bits));
        out->is_ipv6 = true;
    }
    return true;
}

static uint64_t hash_of(const struct client_table *table, const struct network *network)
{
    return hash_mix((network->bits ^ table->seed) + (network->is_ipv6 ? HASH_STEP : 0));
}

static struct shard *shard_of(struct client_table *table, uint64_t hash)
{
    return &table->shards[hash % SHARDS];
}

static struct client **bucket_of(const struct shard *shard, uint64_t hash)
{
    return &shard->buckets[(hash >> 32) & (shard->bucket_count - 1)];
}

static struct client *find(const struct shard *shard, uint64_t hash, const struct network *network)
{
    struct client *client = shard->bucket_count > 0 ? *bucket_of(shard, hash) : NULL;

    while (client && (client->network.bits != network->bits || client->network.is_ipv6 != network->is_ipv6))
        client = client->next;
    return client;
}

/* ---- adding and removing: the shard's lock is held ---- */

static void link_client(const struct shard *shard, uint64_t hash, struct client *client)
{
    struct client **bucket = bucket_of(shard, hash);

    client->next = *bucket;
    *bucket = client;
}

static void unlink_client(const struct shard *shard, uint64_t hash, const struct client *client)
{
    struct client **at = bucket_of(shard, hash);

    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
}

/* Without memory for more buckets those that are there get longer. False when there are none at all. */
static bool has_buckets(const struct client_table *table, struct shard *shard)
{
    struct shard grown = {.bucket_count = shard->bucket_count ? 2 * shard->bucket_count : BUCKETS_FIRST};

    if (shard->clients.taken < shard->bucket_count)
        return true;
    grown.buckets = calloc(grown.bucket_count, sizeof(struct client *));
    if (!grown.buckets)
        return shard->bucket_count > 0;
    for (uint32_t i = 0; i < shard->bucket_count; i++) {
        struct client *next;

        for (struct client *client = shard->buckets[i]; client; client = next) {
            next = client->next;
            link_client(&grown, hash_of(table, &client->network), client);
        }
    }
    free(shard->buckets);
    shard->buckets = grown.buckets;
    shard->bucket_count = grown.bucket_count;
    return true;
}

static struct client *add(const struct client_table *table, struct shard *shard, uint64_t hash,
                          const struct network *network)
{
    struct client *client = has_buckets(table, shard) ? slab_new(&shard->clients) : NULL;

    if (!client)
        return NULL;
    client->network = *network;
    client->connections = 0;
    link_client(shard, hash, client);
    return client;
}

static int enter(const struct client_table *table, struct shard *shard, uint64_t hash, const struct network *network,
                 uint32_t max, struct client **out)
{
    struct client *client = find(shard, hash, network);

    if (!client)
        client = add(table, shard, hash, network);
    if (!client)
        return -ENOMEM;
    if (client->connections >= max)
        return -EBUSY;
    client->connections++;
    *out = client;
    return 0;
}

/* ---- counting ---- */

int client_table_enter(struct client_table *table, const struct addr *addr, uint32_t max, struct client **out)
{
    struct network network;
    struct shard *shard;
    uint64_t hash;
    int rc;

    assert(max > 0);
    *out = NULL;
    if (!network_of(addr, &network))
        return 0;
    hash = hash_of(table, &network);
    shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    rc = enter(table, shard, hash, &network, max, out);
    pthread_mutex_unlock(&shard->lock);
    return rc;
}

void client_table_leave(struct client_table *table, struct client *client)
{
    uint64_t hash = hash_of(table, &client->network); /* it does not change while the caller is counted */
    struct shard *shard = shard_of(table, hash);

    pthread_mutex_lock(&shard->lock);
    assert(client->connections > 0);
    if (--client->connections == 0) {
        unlink_client(shard, hash, client);
        slab_free(&shard->clients, client);
    }
    pthread_mutex_unlock(&shard->lock);
}

uint32_t client_table_size(struct client_table *table)
{
    uint32_t size = 0;

    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&table->shards[i].lock);
        size += table->shards[i].clients.taken;
        pthread_mutex_unlock(&table->shards[i].lock);
    }
    return size;
}
