/* See resolver.h. c-ares 1.18 cannot cancel one question, so each has a context of its own that outlives the one who asked
 * and is freed when c-ares has called back for the last of its lookups. What c-ares calls back with is only written down:
 * it may do so from within any call into it, also that of a new question. on_done is called by a timer. */
#include "proxy/resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "core/config.h"
#include "core/reactor.h"
#include "proto/dns.h"

/* What answers by UDP may have: more than the 512 of old, so that those about services seldom need TCP, and not more than
 * every path takes in one piece (DNS flag day 2020). */
enum { UDP_BYTES_MAX = 1232 };

struct resolver {
    struct reactor *reactor;              /* borrowed */
    const struct resolver_config *config; /* borrowed */
    ares_channel channel;                 /* owned; NULL: nothing is asked */
    struct list sockets;                  /* of the channel: struct dns_socket */
    struct list asked;                    /* questions that c-ares works on, those that were cancelled too */
    struct list done;                     /* questions whose on_done is due */
    struct timer overdue;                 /* when c-ares wants to look at the clock */
    struct timer delivery;                /* of `done` */
    uint32_t question_count;
};

/* A descriptor of c-ares, which opens and closes it. */
struct dns_socket {
    struct fd_watch watch;
    struct list link;
    struct resolver *resolver;
};

/* One host name that is looked up: what c-ares gives back. */
struct lookup {
    struct question *question;
    struct resolution_name name;
};

struct question {
    struct resolver *resolver;
    struct resolve *resolve; /* borrowed; NULL: nobody waits for it any more */
    struct list link;
    uint32_t running; /* what c-ares has yet to call back for */
    bool is_advancing;
    struct dns_srv_answer hosts; /* to look up; a single one unless SRV records were asked for */
    uint32_t next_host;
    struct lookup lookups[RESOLVE_TARGETS_MAX]; /* one for each host */
    struct resolution_draft draft;
};

static const char *problem_of(int status)
{
    switch (status) {
    case ARES_ENODATA: return "the name has no such record";
    case ARES_ENOTFOUND:
    case ARES_EBADNAME: /* from a search domain behind a name that ends with a dot: the name was checked */
        return "no such name";
    case ARES_ETIMEOUT: return "no answer in time";
    case ARES_ESERVFAIL: return "server failure";
    case ARES_EREFUSED: return "refused";
    case ARES_ECONNREFUSED: return "no name server could answer"; /* c-ares has tried all: down, failing, or refusing */
    case ARES_ENOMEM: return "no memory";
    case ARES_EBADRESP:
    case ARES_EFORMERR: return "an answer that makes no sense";
    default: return "the name could not be looked up";
    }
}

/* Makes c-ares call back for all that it works on. */
static void close_channel(struct resolver *resolver)
{
    if (!resolver->channel)
        return;
    ares_destroy(resolver->channel);
    resolver->channel = NULL;
    timer_stop(&resolver->reactor->timers, &resolver->overdue);
}

/* ---- questions ---- */

static void free_question(struct question *question)
{
    list_del(&question->link);
    question->resolver->question_count--;
    free(question);
}

static void detach(struct question *question)
{
    if (question->resolve)
        question->resolve->question = NULL;
    question->resolve = NULL;
}

static void finish(struct question *question)
{
    struct resolver *resolver = question->resolver;

    if (!question->resolve) {
        free_question(question);
        return;
    }
    list_move_tail(&resolver->done, &question->link);
    timer_start(&resolver->reactor->timers, &resolver->delivery, resolver->reactor->now_ms);
}

static void deliver(struct timer *timer, uint64_t now_ms)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, delivery);
    struct list due; /* what these make due is for the next time */
    struct list *node;

    (void)now_ms;
    list_init(&due);
    list_splice_tail(&due, &resolver->done);
    while ((node = list_pop(&due))) {
        struct question *question = CONTAINER_OF(node, struct question, link);
        struct resolve *resolve = question->resolve;

        detach(question);
        resolve->on_done(resolve, resolution_finish(&question->draft));
        free_question(question);
    }
    if (resolver->question_count == 0)
        close_channel(resolver);
}

static void on_host(void *arg, int status, int timeouts, struct ares_addrinfo *info);

static void ask_host(struct question *question, uint32_t index)
{
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    const struct dns_srv *host = &question->hosts.records[index];

    question->lookups[index] = (struct lookup){
        .question = question,
        .name = {.rank = (uint16_t)index, .priority = host->priority, .weight = host->weight},
    };
    question->running++;
    ares_getaddrinfo(question->resolver->channel, host->target, NULL, &hints, on_host, &question->lookups[index]);
}

/* Asks for what is left to ask; when nothing is, and every answer is there, the question is done. */
static void advance(struct question *question)
{
    if (question->is_advancing) /* c-ares has called back from within asking */
        return;
    question->is_advancing = true;
    while (question->resolve && question->next_host < question->hosts.count &&
           question->running < RESOLVE_TARGETS_AT_ONCE)
        ask_host(question, question->next_host++);
    question->is_advancing = false;
    if (question->running == 0)
        finish(question);
}

static void set_port(struct addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET)
        addr->in4.sin_port = htons(port);
    else
        addr->in6.sin6_port = htons(port);
}

static uint32_t ttl_of(int ttl_s)
{
    return ttl_s > 0 ? (uint32_t)ttl_s : 0;
}

static void add_addrs(struct question *question, const struct lookup *lookup, const struct ares_addrinfo *info)
{
    struct addr addrs[RESOLVE_ADDRS_MAX];
    uint32_t count = 0;

    for (const struct ares_addrinfo_node *node = info->nodes; node && count < RESOLVE_ADDRS_MAX; node = node->ai_next) {
        struct addr *addr = &addrs[count++];

        *addr = (struct addr){.len = node->ai_addrlen};
        memcpy(&addr->storage, node->ai_addr, node->ai_addrlen);
        set_port(addr, question->hosts.records[lookup->name.rank].port);
        resolution_limit_ttl(&question->draft, ttl_of(node->ai_ttl));
    }
    for (const struct ares_addrinfo_cname *alias = info->cnames; alias; alias = alias->next)
        resolution_limit_ttl(&question->draft, ttl_of(alias->ttl));
    resolution_add(&question->draft, &lookup->name, addrs, count);
}

static void on_host(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    const struct lookup *lookup = arg;
    struct question *question = lookup->question;

    (void)timeouts;
    if (status == ARES_SUCCESS)
        add_addrs(question, lookup, info);
    else
        resolution_fail(&question->draft, problem_of(status));
    if (info)
        ares_freeaddrinfo(info);
    question->running--;
    advance(question);
}

/* Leaves out records that say that the service is not offered, and ends the other names with a dot, so that they are not
 * looked for in search domains. */
static void keep_offers(struct dns_srv_answer *hosts)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < hosts->count; i++) {
        struct dns_srv *host = &hosts->records[kept];
        size_t len = strlen(hosts->records[i].target);

        if (len == 0)
            continue;
        if (kept != i)
            *host = hosts->records[i];
        host->target[len] = '.';
        host->target[len + 1] = '\0';
        kept++;
    }
    hosts->count = kept;
}

static const char *read_services(struct question *question, int status, const unsigned char *message, int len)
{
    struct dns_srv_answer *hosts = &question->hosts;

    if (status != ARES_SUCCESS)
        return problem_of(status);
    if (!dns_read_srv(hosts, message, (size_t)len))
        hosts->count = 0; /* what came before the broken part is not worth much */
    if (hosts->count == 0)
        return problem_of(ARES_EBADRESP);
    resolution_limit_ttl(&question->draft, hosts->ttl_s);
    keep_offers(hosts);
    return hosts->count > 0 ? NULL : "the service is not offered";
}

static void on_services(void *arg, int status, int timeouts, unsigned char *message, int len)
{
    struct question *question = arg;
    const char *problem = read_services(question, status, message, len);

    (void)timeouts;
    if (problem)
        resolution_fail(&question->draft, problem);
    question->running--;
    advance(question);
}

/* ---- the channel: its sockets, its time-outs ---- */

/* After every call into c-ares, which changes what it waits for. A moment late rather than early: it would find nothing. */
static void update_overdue(struct resolver *resolver)
{
    struct timer_wheel *timers = &resolver->reactor->timers;
    struct timeval left;

    if (ares_timeout(resolver->channel, NULL, &left))
        timer_start(timers, &resolver->overdue,
                    resolver->reactor->now_ms + (uint64_t)left.tv_sec * 1000 + (uint64_t)left.tv_usec / 1000 + 1);
    else
        timer_stop(timers, &resolver->overdue);
}

static void on_overdue(struct timer *timer, uint64_t now_ms)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, overdue);

    (void)now_ms;
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    update_overdue(resolver);
}

/* An error is found by reading and by writing. */
static void on_socket_ready(struct fd_watch *watch, uint32_t events)
{
    struct resolver *resolver = CONTAINER_OF(watch, struct dns_socket, watch)->resolver;
    bool has_failed = events & (POLLERR | POLLHUP);
    int fd = watch->fd;

    ares_process_fd(resolver->channel, has_failed || events & POLLIN ? fd : ARES_SOCKET_BAD,
                    has_failed || events & POLLOUT ? fd : ARES_SOCKET_BAD); /* may close it: watch may be gone */
    update_overdue(resolver);
}

static struct dns_socket *find_socket(const struct resolver *resolver, int fd)
{
    for (struct list *node = resolver->sockets.next; node != &resolver->sockets; node = node->next) {
        struct dns_socket *sock = CONTAINER_OF(node, struct dns_socket, link);

        if (sock->watch.fd == fd)
            return sock;
    }
    return NULL;
}

static void forget_socket(struct dns_socket *sock)
{
    watch_stop(&sock->watch);
    list_del(&sock->link);
    free(sock);
}

/* Without memory nobody hears of its answers, and its questions run into their time-outs. */
static void add_socket(struct resolver *resolver, int fd, uint32_t events)
{
    struct dns_socket *sock = calloc(1, sizeof(*sock));

    if (!sock)
        return;
    sock->resolver = resolver;
    sock->watch.on_ready = on_socket_ready;
    list_init(&sock->link);
    list_add_tail(&resolver->sockets, &sock->link);
    if (watch_start(&resolver->reactor->watches, &sock->watch, fd, events) < 0)
        forget_socket(sock);
}

/* Neither readable nor writable: c-ares is about to close it. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = data;
    struct dns_socket *sock = find_socket(resolver, fd);
    uint32_t events = (readable ? POLLIN : 0) | (writable ? POLLOUT : 0);

    if (sock && !events)
        forget_socket(sock);
    else if (sock && events != sock->watch.events)
        watch_change(&sock->watch, events);
    else if (!sock && events)
        add_socket(resolver, fd, events);
}

static int set_servers(struct resolver *resolver)
{
    const char *servers = resolver->config->servers;
    int status = servers ? ares_set_servers_ports_csv(resolver->channel, servers) : ARES_SUCCESS;

    if (status == ARES_SUCCESS)
        return 0;
    if (status == ARES_ENOMEM)
        return -ENOMEM;
    log_error("reactor %u: no list of name servers: \"%s\"", resolver->reactor->index, servers);
    return -EINVAL;
}

/* ares_library_init() does nothing but on Windows, and is not for several threads. */
static int open_channel(struct resolver *resolver)
{
    const struct resolver_config *config = resolver->config;
    int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ;
    struct ares_options options = {
        .flags = ARES_FLAG_EDNS,
        .ednspsz = UDP_BYTES_MAX,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = resolver,
        .timeout = (int)config->timeout_ms,
        .tries = (int)config->attempts,
    };
    int rc;

    mask |= config->timeout_ms ? ARES_OPT_TIMEOUTMS : 0;
    mask |= config->attempts ? ARES_OPT_TRIES : 0;
    rc = ares_init_options(&resolver->channel, &options, mask);
    if (rc != ARES_SUCCESS) {
        log_error("reactor %u: cannot look names up: %s", resolver->reactor->index, ares_strerror(rc));
        resolver->channel = NULL;
        return rc == ARES_ENOMEM ? -ENOMEM : -EIO;
    }
    rc = set_servers(resolver);
    if (rc < 0)
        close_channel(resolver);
    return rc;
}

/* ---- what others call ---- */

int resolver_open(struct resolver **out, struct reactor *reactor, const struct resolver_config *config)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));

    if (!resolver)
        return -ENOMEM;
    resolver->reactor = reactor;
    resolver->config = config;
    list_init(&resolver->sockets);
    list_init(&resolver->asked);
    list_init(&resolver->done);
    timer_init(&resolver->overdue, on_overdue);
    timer_init(&resolver->delivery, deliver);
    *out = resolver;
    return 0;
}

void resolver_configure(struct resolver *resolver, const struct resolver_config *config)
{
    resolver->config = config; /* read when the channel is opened */
}

static void detach_all(struct list *questions)
{
    for (struct list *node = questions->next; node != questions; node = node->next)
        detach(CONTAINER_OF(node, struct question, link));
}

/* Those that c-ares works on are freed as it calls back. */
void resolver_close(struct resolver *resolver)
{
    struct list *next;

    if (!resolver)
        return;
    detach_all(&resolver->asked);
    detach_all(&resolver->done);
    close_channel(resolver);
    for (struct list *node = resolver->done.next; node != &resolver->done; node = next) {
        next = node->next;
        free_question(CONTAINER_OF(node, struct question, link));
    }
    assert(resolver->question_count == 0 && list_is_empty(&resolver->sockets));
    timer_stop(&resolver->reactor->timers, &resolver->delivery);
    free(resolver);
}

static struct question *new_question(struct resolver *resolver, struct resolve *resolve)
{
    struct question *question = calloc(1, sizeof(*question));

    if (!question)
        return NULL;
    question->resolver = resolver;
    question->resolve = resolve;
    resolve->question = question;
    list_init(&question->link);
    list_add_tail(&resolver->asked, &question->link);
    resolver->question_count++;
    resolution_begin(&question->draft);
    return question;
}

/* No question for c-ares, but answered in the same way. */
static int answer_numeric(struct resolver *resolver, struct resolve *resolve, const struct addr *addr)
{
    static const struct resolution_name name;
    struct question *question = new_question(resolver, resolve);

    if (!question)
        return -ENOMEM;
    resolution_add(&question->draft, &name, addr, 1);
    finish(question);
    return 0;
}

static void ask(struct question *question, enum resolve_kind kind, const char *name, uint16_t port)
{
    struct dns_srv *host = &question->hosts.records[0];

    if (kind == RESOLVE_SRV) {
        question->running++;
        ares_query(question->resolver->channel, name, ns_c_in, ns_t_srv, on_services, question);
        return;
    }
    *host = (struct dns_srv){.port = port};
    memcpy(host->target, name, strlen(name));
    question->hosts.count = 1;
    advance(question);
}

int resolver_start(struct resolver *resolver, struct resolve *resolve, enum resolve_kind kind, const char *name,
                   uint16_t port)
{
    struct question *question;
    struct addr addr;
    int rc = 0;

    assert(!resolve->question && resolve->on_done);
    if (resolver->question_count == RESOLVE_QUESTIONS_MAX)
        return -EAGAIN;
    if (kind == RESOLVE_HOST && addr_parse_ip(&addr, name, port) == 0)
        return answer_numeric(resolver, resolve, &addr);
    if (!dns_is_host_name(name))
        return -EINVAL;
    if (!resolver->channel)
        rc = open_channel(resolver);
    if (rc < 0)
        return rc;
    question = new_question(resolver, resolve);
    if (!question)
        return -ENOMEM;
    ask(question, kind, name, port);
    update_overdue(resolver);
    return 0;
}

void resolver_cancel(struct resolve *resolve)
{
    struct question *question = resolve->question;

    if (!question)
        return;
    detach(question);
    if (question->running == 0)
        free_question(question);
}
