/* The configuration as the engine reads it: plain data, made once from zerg.lua (script/config.c), checked already,
 * shared read-only by all threads after start. Strings are owned by the configuration. Times are milliseconds,
 * 0 meaning none; sizes are bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/log.h"

enum accept_mode { ACCEPT_ACCEPTOR, ACCEPT_REUSEPORT };
enum feature_choice { FEATURE_AUTO, FEATURE_ON, FEATURE_OFF };
enum ip_version { IP_DUAL, IP_V4, IP_V6 };

struct timeouts {
    uint32_t read_ms;  /* a parked read */
    uint32_t write_ms; /* staged bytes without progress */
    uint32_t idle_ms;  /* no byte either way */
};

struct tcp_options {
    bool nodelay;             /* default true */
    bool keepalive;           /* default false */
    uint32_t fastopen;        /* queue length, 0: off */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT, 0: kernel default */
};

struct listener_config {
    char *name;                 /* `name`, or the printed address */
    struct addr addr;           /* TCP, or unix when `path` is given */
    enum ip_version ip_version; /* dual: one socket for both families (V6ONLY off); v6: V6ONLY on */
    mode_t mode;                /* of a unix socket's file; 0: leave to the umask */
    uint32_t backlog;           /* default acceptor.backlog */
    uint32_t max_connections;   /* 0: no limit of its own */
    uint32_t write_buffer_max;  /* staged bytes above which a writer parks */
    struct timeouts timeouts;
    struct tcp_options tcp;
    char *handler; /* where the handler stands, for messages: "handlers/echo.lua", "zerg.lua:12 (function)" */
    char *forward; /* where to relay connections instead: "127.0.0.1:3000", "unix:/path"; NULL: they have a handler */
    struct addr forward_addr;
    uint32_t connect_ms; /* how long connecting there may take, 0: as long as the kernel tries */
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
    char *proxy_listen; /* of `zerg proxy LISTEN TARGET`, else NULL */
    char *proxy_target;
    char *directory;   /* of zerg.lua or the script; relative paths in it and require() start here */
    char *lua_path;    /* extra package.path entries, joined; "" when there are none */
    uint32_t reactors; /* at least 1: `reactors = 0` is resolved already */
    enum accept_mode accept;
    bool pin_cpus;
    uint32_t acceptor_ring_entries;
    struct reactor_config reactor;
    struct listener_config *listeners;
    uint32_t listener_count;
    struct log_config log;
    uint64_t script_memory_max; /* per reactor */
    uint32_t script_stall_ms;   /* report a handler that runs this long, 0: never */
    uint32_t drain_timeout_ms;
    char *user;  /* NULL: stay who we are */
    char *group; /* NULL: the user's own group */
};
