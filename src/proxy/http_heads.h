/* The heads that the reverse proxy passes on: what of a message's head is about its connection stays here, what says where the
 * request comes from is added, and what the configuration or a script wants changed is changed (RFC 9110 section 7.6, RFC 9112). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

struct conn;
struct http_exchange;
struct http_field_config;
struct http_head;
struct http_rewrite;

/* What the two heads of a forwarded request are made with. Strings are borrowed. */
struct http_change {
    const struct http_rewrite *rewrite; /* NULL: nothing changes */
    const char *method;                 /* in place of the request's, NULL: that */
    size_t method_len;
    const char *path; /* in place of the request's path, and of its query when it has one itself; NULL: those */
    size_t path_len;
    const char *body; /* in place of the request's, NULL: that */
    size_t body_len;
};

/* Whether the body goes on in chunks. */

/* Stages the head of the exchange's request on `server`; host: of a request that names none. 0; -ENOMEM, -E2BIG (it does not fit one piece), -EINVAL (rewrite->strip
 * is not how its path begins). */
MUST_CHECK int http_heads_request(const struct http_exchange *exchange, const struct http_change *change,
                                  const char *host, struct conn *server);
/* Whether a name is one of those that are changed; `-` and `_` are the same, as they are to some servers. */
bool http_heads_is_changed(const struct http_field_config *changes, uint32_t count, const uint8_t *name, size_t len);
/* Whether the request asks for another protocol that it may get: one, and none that would have further requests go past us
 * (h2c, newer HTTP, TLS). Without that it goes on as an ordinary request. */
bool http_heads_passes_upgrade(const struct http_head *head, const uint8_t *bytes);
/* Whether the answer is a 101 to the protocol that the request asked for. */
bool http_heads_agree(const struct http_exchange *exchange, const struct http_head *head, const uint8_t *bytes);
/* Stages the head of a server's answer for the exchange's client, whose framing has been decided (exchange->answer). bytes: what
 * the spans of the head count from. 0, -ENOMEM, -E2BIG. */
MUST_CHECK int http_heads_answer(const struct http_exchange *exchange, const struct http_change *change,
                                 const struct http_head *head, const uint8_t *bytes);
/* The same of one that another follows (1xx), or of 101, which ends HTTP here. */
MUST_CHECK int http_heads_interim(const struct http_exchange *exchange, const struct http_head *head,
                                  const uint8_t *bytes);
