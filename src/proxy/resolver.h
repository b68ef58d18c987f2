/* Looks names up, without waiting for answers: /etc/hosts and DNS as /etc/resolv.conf says, by c-ares. One for each
 * reactor, on its ring and its timers; reactor thread only. Nothing is open while nothing is asked, so that the files are
 * read anew. It remembers no answers: a resolution says for how long its owner may. */
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "proxy/resolution.h"

struct question;
struct reactor;
struct resolver;
struct resolver_config;

enum resolve_kind {
    RESOLVE_HOST, /* the addresses of a host name: A and AAAA */
    RESOLVE_SRV,  /* those of the hosts that offer a service: "_postgres._tcp.db.internal" */
};

/* One who asks. Embedded in its owner, who keeps it alive until on_done or resolver_cancel(). All zero but for on_done
 * before its first use. */
struct resolve {
    /* What came of it, borrowed for the call. From the timers of a turn, never from within resolver_start(). May start and
     * cancel any question, this one again, and free its owner. */
    void (*on_done)(struct resolve *resolve, const struct resolution *resolution);
    struct question *question; /* the resolver's; NULL: nothing is asked */
};

/* config: borrowed until resolver_configure() or resolver_close(). 0 or -ENOMEM. */
MUST_CHECK int resolver_open(struct resolver **out, struct reactor *reactor, const struct resolver_config *config);
/* Another one, borrowed in the same way; it counts from the next question on that is asked while there is no other. */
void resolver_configure(struct resolver *resolver, const struct resolver_config *config);
/* Forgets all questions: no on_done is called any more. Not from within on_done. NULL is ignored. */
void resolver_close(struct resolver *resolver);

/* Asks. name is copied: a host name or, for RESOLVE_HOST, a numeric address, which is answered at once. port: of the
 * addresses; SRV records bring their own. 0; -EINVAL: this is no host name (dns_is_host_name()), or the configured servers
 * are none; -EAGAIN: RESOLVE_QUESTIONS_MAX are asked already; -ENOMEM; -EIO: c-ares could not be set up. */
MUST_CHECK int resolver_start(struct resolver *resolver, struct resolve *resolve, enum resolve_kind kind,
                              const char *name, uint16_t port);
/* on_done is not called any more. Idempotent. */
void resolver_cancel(struct resolve *resolve);
