/* The configuration as the engine reads it: plain data, made once from zerg.lua (script/config.c), checked already,
 * shared read-only by all threads after start. Strings are owned by the configuration. Times are milliseconds,
 * 0 meaning none; sizes are bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/log.h"

struct sources;

/* A thread that deals connections out, or every reactor for itself: on a socket of its own, if there are several. */
enum accept_mode { ACCEPT_ACCEPTOR, ACCEPT_REUSEPORT };
enum feature_choice { FEATURE_AUTO, FEATURE_ON, FEATURE_OFF };
enum ip_version { IP_DUAL, IP_V4, IP_V6 };

/* How an upstream shares connections out among its servers. */
enum balance_method {
    BALANCE_ROUND_ROBIN,       /* smooth weighted */
    BALANCE_LEAST_CONNECTIONS, /* fewest for its weight */
    BALANCE_RANDOM_TWO,        /* the less loaded of two at random */
    BALANCE_HASH,              /* consistent, by key */
    BALANCE_IN_ORDER,          /* the first that can be used: the addresses of a plain target */
};

/* The PROXY protocol header that a connection to a server begins with. */
enum proxy_send { PROXY_SEND_NONE, PROXY_SEND_V1, PROXY_SEND_V2 };

struct timeouts {
    uint32_t read_ms;  /* a parked read */
    uint32_t write_ms; /* staged bytes without progress */
    uint32_t idle_ms;  /* no byte either way */
};

/* What stands above the connections of a listener. */
enum protocol { PROTOCOL_TCP, PROTOCOL_HTTP };

/* Of a listener that speaks HTTP. */
struct http_config {
    uint32_t header_ms;    /* from the first byte of a head to its last */
    uint32_t body_ms;      /* until something of a body comes that is waited for */
    uint32_t keepalive_ms; /* until the next request begins */
    uint16_t header_bytes; /* of one head */
    uint16_t headers;      /* fields in it */
    /* What forwarded requests say of where they come from. */
    bool adds_x_forwarded;
    bool adds_request_id;
    bool adds_forwarded;
    bool adds_via;
};

/* A field that forwarded messages get. */
struct http_field_config {
    char *name;
    char *value; /* NULL: it is removed */
};

/* What changes in forwarded messages. */
struct http_rewrite {
    char *strip; /* front of the path, NULL: none */
    struct http_field_config *request_fields;
    uint32_t request_field_count;
    struct http_field_config *response_fields;
    uint32_t response_field_count;
};

/* Which requests of a listener go where. */
struct http_route {
    uint32_t index;      /* among those of all listeners */
    uint64_t body_bytes; /* content of one request */
    char *host;          /* in lower case; "*.a.example": the hosts below it; NULL: any */
    char *path;          /* what the paths of its requests begin with */
    char *handler;       /* where the handler stands, for messages; NULL: it forwards */
    char *forward;       /* to an upstream or a target; NULL: a script answers */
    struct http_rewrite rewrite;
};

struct tcp_options {
    bool nodelay;             /* default true */
    bool keepalive;           /* default false */
    uint32_t fastopen;        /* queue length, 0: off */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT, 0: kernel default */
};

struct server_config {
    char *target; /* "127.0.0.1:3000", "[::1]:3000", "db.internal:5432", "unix:/path", "srv:_pg._tcp.db.internal" */
    uint32_t weight;
    uint32_t max_connections; /* 0: no limit */
    bool is_backup;
};

/* Active checks of every server of an upstream. */
struct check_config {
    uint32_t interval_ms; /* 0: there are none */
    uint32_t timeout_ms;
    uint32_t rise;       /* checks in a row that must pass before a server is up */
    uint32_t fall;       /* and fail before it is down */
    char *path;          /* of an HTTP request; NULL: that the server accepts a connection is enough */
    char *host;          /* Host of that request; NULL: the server's target */
    uint16_t status_min; /* the answer's status must be in this range */
    uint16_t status_max;
};

struct upstream_config {
    char *name;
    struct server_config *servers;
    uint32_t server_count;
    enum balance_method balance;
    enum proxy_send proxy_send;
    uint32_t keepalive;       /* idle connections kept for each reactor */
    uint32_t connect_ms;      /* for one attempt; 0: as long as the kernel tries */
    uint32_t read_ms;         /* longest wait for an answer, where there are answers: HTTP */
    uint32_t retries;         /* further servers that are tried when connecting fails */
    uint32_t max_fails;       /* failures within fail_timeout that eject a server, 0: never */
    uint32_t fail_timeout_ms; /* and how long it is ejected */
    uint32_t slow_start_ms;   /* from a server's recovery to its full weight */
    uint32_t queue;           /* connections that may wait for a server that has max_connections */
    uint32_t queue_ms;        /* and how long each may */
    struct check_config check;
};

/* How host names are looked up. */
struct resolver_config {
    char *servers;       /* "127.0.0.1:53,[::1]:53"; NULL: those of /etc/resolv.conf */
    uint32_t timeout_ms; /* of one question to one server, 0: as /etc/resolv.conf says */
    uint32_t attempts;   /* 0: as /etc/resolv.conf says */
};

struct listener_config {
    char *name;                  /* `name`, or the printed address */
    struct addr addr;            /* TCP, or unix when `path` is given */
    enum ip_version ip_version;  /* dual: one socket for both families (V6ONLY off); v6: V6ONLY on */
    mode_t mode;                 /* of a unix socket's file; 0: leave to the umask */
    uint32_t backlog;            /* default acceptor.backlog */
    uint32_t max_connections;    /* 0: no limit of its own */
    uint32_t connections_per_ip; /* of one client at once, 0: no limit */
    uint32_t write_buffer_max;   /* staged bytes above which a writer parks */
    struct timeouts timeouts;
    struct tcp_options tcp;
    enum protocol protocol;
    struct http_config http;
    struct http_route *routes; /* owned: of PROTOCOL_HTTP, at least one */
    uint32_t route_count;
    char
        *handler; /* where the handler stands, for messages: "handlers/echo.lua", "zerg.lua:12 (function)"; NULL: in the
                      routes */
    char *
        forward; /* where to relay connections instead: an upstream's name, or a target; NULL: they have a handler, or speak HTTP */
    uint32_t connect_ms;        /* how long connecting to a target may take, 0: as long as the kernel tries */
    uint32_t total_ms;          /* how long a relay may last, 0: for ever */
    bool accepts_proxy;         /* a PROXY protocol header comes first */
    uint32_t handshake_ms;      /* and must be there within this time, 0: some time */
    struct addr_range *trusted; /* owned: whose headers are believed; who is not among them is served as it is */
    uint32_t trusted_count;     /* 0: everybody is */
};

struct reactor_config {
    uint32_t ring_entries;
    uint32_t recv_buffer_size;    /* 0: auto */
    uint32_t buffer_ring_entries; /* 0: auto */
    enum feature_choice incremental;
    uint32_t batch_cqes;
    uint32_t cq_timeout_ms; /* 0: sleep until something happens */
    uint32_t max_connections;
    bool sqpoll;
    int sq_cpu;
    uint32_t sq_idle_ms;
};

struct log_config {
    char *file; /* "stderr", "stdout", or a path */
    enum log_level level;
    enum log_format format;
};

struct config {
    /* Paths are as the operator gave them, or joined to `directory`: relative to the working directory, which never
     * changes. */
    char *path;         /* of zerg.lua; NULL when there is none (zerg SCRIPT.lua, zerg proxy) */
    char *script;       /* of the script of `zerg SCRIPT.lua`, else NULL */
    char *proxy_listen; /* of `zerg proxy LISTEN TARGET...`, else NULL */
    char **proxy_targets;
    uint32_t proxy_target_count;
    struct sources *sources;       /* owned: what it was read from (script/sources.h) */
    char *directory;               /* of zerg.lua or the script; relative paths in it and require() start here */
    char *lua_path;                /* extra package.path entries, joined; "" when there are none */
    uint32_t reactors;             /* at least 1: `reactors = 0` is resolved already */
    enum accept_mode accept;       /* in force: a single reactor accepts for itself, whatever the next says */
    enum accept_mode accept_given; /* as the file says, or by default */
    bool pin_cpus;
    uint32_t acceptor_ring_entries;
    struct reactor_config reactor;
    struct listener_config *listeners;
    uint32_t listener_count;
    uint32_t route_count;              /* of all listeners */
    struct upstream_config *upstreams; /* in the order of their names */
    uint32_t upstream_count;
    struct resolver_config resolver;
    struct log_config log;
    bool has_control;           /* there is a control socket, */
    char *control;              /* here; NULL: at its usual place (admin/control_path.h) */
    uint64_t script_memory_max; /* per reactor */
    uint32_t script_stall_ms;   /* report a handler that runs this long, 0: never */
    uint32_t drain_timeout_ms;
    bool watches; /* reload when a file that was loaded changes */
    char *user;   /* NULL: stay who we are */
    char *group;  /* NULL: the user's own group */
};
