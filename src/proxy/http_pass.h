/* Passing the body of a message on, as it comes, from the connection it was received on to another of the same reactor: its framing is
 * taken away, the content goes as leases (pump.h), and in a framing of its own where the other side needs one. No more is
 * staged than the other side's write_buffer_max; past that its sender is not read from. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

struct conn;
struct http_field_config;
struct http_inflow;

enum http_pass_outcome {
    HTTP_PASS_MORE, /* not yet: the sender has more to say, or the receiver to take */
    HTTP_PASS_DONE, /* all of it is staged, and the sender's next message begins there */
    HTTP_PASS_BAD,  /* what the sender says is malformed: inflow->body.refusal */
    HTTP_PASS_LOST, /* the receiver is not writable any more, or there is no memory: nothing may follow what was staged */
};

struct http_pass {
    struct http_inflow *from;                /* borrowed */
    struct conn *to;                         /* borrowed */
    bool is_chunked;                         /* it goes on in chunks, with the trailers that came */
    const struct http_field_config *changes; /* borrowed: fields that are none of the sender's */
    uint32_t change_count;
    bool is_done;
    uint64_t bytes; /* content that was passed on */
};

/* As much as there is, and there is room for. */
enum http_pass_outcome http_pass_move(struct http_pass *pass);
/* Whether the receiver has enough for now. */
bool http_pass_is_full(const struct http_pass *pass);
/* The sender has ended where its body may: so ends what was passed on. */
enum http_pass_outcome http_pass_end(struct http_pass *pass);
/* The receiver has taken some: whether that is reason enough to move more. */
bool http_pass_is_due(const struct http_pass *pass);
