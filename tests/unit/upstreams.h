/* Upstreams for the tests of src/proxy: made from a list of weights, picked from one connection at a time. */
#pragma once

#include <stdint.h>

#include "proxy/balance.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

/* 3 failures in 10 s eject, rise 2, fall 3, no slow start. */
struct health_limits usual_health(void);
/* Options of `count` servers "10.0.0.1:80", "10.0.0.2:80", ... of weight 1. They live until the next call. */
struct server_options *usual_servers(uint32_t count);
/* An upstream of these, or of servers of the given weights. */
struct upstream *upstream_of(enum balance_method balance, const struct server_options *servers, uint32_t count);
struct upstream *upstream_of_weights(enum balance_method balance, const uint32_t *weights, uint32_t count);

/* A pick that must succeed; its slot stays taken. */
struct pick pick_one(struct upstream *upstream, uint64_t key_hash, uint64_t now_ms);
/* The index of a pick whose connection ends at once. */
uint32_t pick_index(struct upstream *upstream, uint64_t key_hash, uint64_t now_ms);
/* What a pick gives when nothing was tried; its slot is given back. */
enum pick_outcome pick_outcome(struct upstream *upstream, uint64_t now_ms);
/* The key of connection number i. */
uint64_t key_number(uint32_t i);
/* Ejects a server by failing connections to it. */
void eject(struct upstream *upstream, uint32_t index, uint64_t now_ms);
/* Fails so many active checks of a server, or lets them pass. */
void fail_checks(struct upstream *upstream, uint32_t index, uint32_t count, uint64_t now_ms);
void pass_checks(struct upstream *upstream, uint32_t index, uint32_t count, uint64_t now_ms);
