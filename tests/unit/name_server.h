/* A resolver on the reactor of fixture.h, with c-ares itself, and the name server that it asks: a UDP socket on which the test
 * answers, and a TCP socket on the same port. The test is the kernel of the ring too, but polls are answered with what is
 * true. c-ares reads the real clock, so what waits for its time-outs takes their time. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake_ring.h"
#include "fixture.h"
#include "proxy/resolver.h"

enum {
    NS_POLLS_MAX = 16,
    NS_MESSAGE_MAX = 4096,
    NS_TYPE_A = 1,
    NS_TYPE_CNAME = 5,
    NS_TYPE_AAAA = 28,
    NS_TYPE_SRV = 33,
    NS_SERVFAIL = 2,
    NS_NXDOMAIN = 3,
    NS_REFUSED = 5,
    NS_TTL_S = 300, /* of every record, where the test does not say another */
    NS_PORT = 5432, /* that is asked for */
};

/* Who asks. */
struct ns_asker {
    struct resolve resolve;
    uint32_t calls;
    struct resolution answer; /* a copy of the last one */
    struct ns_fixture *test;
    const char *then; /* on_done asks for this */
};

struct ns_fixture {
    struct fixture *f;
    struct resolver *resolver; /* the fixture's */
    int udp;
    int tcp; /* listens on the same port */
    char servers[64];
    uint32_t seen; /* operations that the kernel has looked at */
    struct fake_sqe polls[NS_POLLS_MAX];
    uint32_t poll_count;
    struct ns_asker asker;
};

/* A question, and the answer to it. */
struct ns_exchange {
    struct sockaddr_in from;
    uint8_t bytes[NS_MESSAGE_MAX];
    size_t len;
    char name[256];
    uint16_t type;
};

int ns_setup(void **state);
int ns_setup_with(void **state, const struct fixture_options *options);
int ns_teardown(void **state);
/* Of an asker: counts. */
void ns_on_done(struct resolve *resolve, const struct resolution *resolution);
/* The fixture's asker asks, which must work and tell nothing yet. */
void ns_start(struct ns_fixture *t, enum resolve_kind kind, const char *name);
/* Completes the polls whose events are there; waits a moment for one. Then a turn, at a time that much later. */
void ns_step(struct ns_fixture *t);
/* Steps until on_done was called so often. */
void ns_wait(struct ns_fixture *t, uint32_t calls);
/* Polls that are armed. */
uint32_t ns_polls(struct ns_fixture *t);

/* Whether a question lies there. */
bool ns_is_asked(const struct ns_fixture *t);
/* The next question, which must be about that name; steps until it is there. The answer is begun: a good one. */
void ns_expect(struct ns_fixture *t, struct ns_exchange *exchange, const char *name);
/* The same for a question that came by TCP and lies in bytes. */
void ns_read_question(struct ns_exchange *exchange);
/* A receive on fd fails when nothing comes for some seconds. */
void ns_be_patient(int fd);

void ns_add_bytes(struct ns_exchange *exchange, const void *bytes, size_t len);
/* A record of the name that was asked for. */
void ns_add_record(struct ns_exchange *exchange, uint16_t type, uint32_t ttl_s, const void *data, size_t len);
/* An address, if its family was asked for. */
void ns_add_addr(struct ns_exchange *exchange, uint32_t ttl_s, const char *text);
/* Port is 1000 and the priority, weight 7. */
void ns_add_srv(struct ns_exchange *exchange, uint16_t priority, const char *target);
void ns_send(struct ns_fixture *t, const struct ns_exchange *exchange);

/* The next question is answered with an error. */
void ns_answer_code(struct ns_fixture *t, const char *name, uint8_t code);
/* The next two questions, both about a host. NULL: it has no such address. */
void ns_answer_host(struct ns_fixture *t, const char *name, const char *v4, const char *v6);
/* The next question, about "_db._tcp.test": one host or two (second_target may be NULL), with their priorities. */
void ns_answer_services(struct ns_fixture *t, uint16_t first, const char *first_target, uint16_t second,
                        const char *second_target);

/* What the fixture's asker was told. */
void ns_assert_item(const struct ns_fixture *t, uint32_t index, const char *text);
void ns_assert_problem(const struct ns_fixture *t, const char *problem);
