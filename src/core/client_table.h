/* How many connections each client address has just now, counted over all threads: a hash table in shards, each under a lock
 * of its own that is held for a few instructions. An address is in it only while it has connections, so a look costs
 * the same however many clients came before.
 *
 * An IPv6 client is its /64 prefix, as whoever has one address of it usually has them all. IPv4 addresses that are mapped into
 * IPv6 count as IPv4. Any thread. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

struct addr;
struct client; /* an address that has connections */
struct client_table;

/* 0 and *out, or -ENOMEM or another negative errno of getrandom(2). */
MUST_CHECK int client_table_new(struct client_table **out);
/* Asserts that every connection has left. NULL is allowed. */
void client_table_free(struct client_table *table);

/* Counts one more connection of `addr`, whose port does not matter, if it has fewer than `max`. 0 and *out, which is
 * borrowed until client_table_leave() and is NULL for what is neither IPv4 nor IPv6: that is not counted. -EBUSY: it has
 * max already. -ENOMEM. */
MUST_CHECK int client_table_enter(struct client_table *table, const struct addr *addr, uint32_t max,
                                  struct client **out);
/* One of the client's connections has ended: once for each that entered. */
void client_table_leave(struct client_table *table, struct client *client);
/* Addresses that have connections. */
uint32_t client_table_size(struct client_table *table);
