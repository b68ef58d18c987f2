-- Every key of zerg.lua: its type, default, range, unit and one sentence about it, as one table.
-- The checker, the defaults and the test that compares docs/configuration.md with this all read it;
-- nothing else repeats it. src/base/limits.h and src/core/config.h must agree with the ranges and
-- defaults here.
--
-- A field: { name, type, default, doc, ... } with, by type:
--   integer, size, time   min, max; power_of_two; auto ("auto" is allowed as well)
--   boolean               auto
--   enum                  values
--   string                what (the words of "expected ..."), pattern, max (bytes),
--                         account ("user" | "group")
--   address, range, name_server, path, control, mode, handler, forward, host, headers, target,
--   server, status, lua_path:
--                         see the readers that check.lua names
--   table                 fields; optional (without a value it is nil, not a table of defaults)
--   list                  item (type of each, "table" by default), fields of each item, min, max,
--                         what; single (one item may stand for a list of it)
--   map                   fields of each value, key_pattern, key_what, max, what
-- `later` marks a key that a coming version will have; its text says what to use instead ("" when
-- there is nothing). A later key passes when it asks for nothing (false, {}, 0) and is refused
-- otherwise. Times are seconds.

local M = {}

local KIB, MIB, GIB = 1024, 1024 ^ 2, 1024 ^ 3
local HOUR, WEEK = 3600, 7 * 24 * 3600

M.PATH_BYTES_MAX = 107 -- sun_path without its NUL
M.CONTROL_BYTES_MAX = 95 -- CONTROL_PATH_BYTES without its NUL
M.LISTENERS_MAX = 1024
M.UPSTREAMS_MAX = 1024
M.UPSTREAM_SERVERS_MAX = 512
M.TRUSTED_MAX = 1024
M.ROUTES_MAX = 1024
M.RESOLVER_SERVERS_MAX = 16
M.INHERIT = {} -- default of a key that takes its value from elsewhere

local acceptor = {
  { name = "ring_entries", type = "integer", min = 1, max = 32768, default = 256,
    doc = "Submission queue of the acceptor's ring." },
  { name = "backlog", type = "integer", min = 1, max = 65535, default = 65535,
    doc = "Connections the kernel queues per listener; it caps this at net.core.somaxconn." },
  { name = "ip_version", type = "enum", values = { "dual", "v4", "v6" }, default = "dual",
    doc = "What a listener without `address` binds: IPv4 and IPv6, or one of them." },
}

local reactor = {
  { name = "ring_entries", type = "integer", min = 8, max = 32768, default = 8192,
    doc = "Submission queue; the completion queue is sized from max_connections." },
  { name = "recv_buffer_size", type = "size", min = KIB, max = MIB, default = "auto", auto = true,
    power_of_two = true, doc = "Bytes of one receive buffer." },
  { name = "buffer_ring_entries", type = "integer", min = 1, max = 32768, default = "auto",
    auto = true, power_of_two = true, doc = "Receive buffers of one reactor." },
  { name = "incremental", type = "boolean", default = "auto", auto = true,
    doc = "Let the kernel fill one buffer with several receives (Linux 6.12)." },
  { name = "batch_cqes", type = "integer", min = 1, max = 65536, default = 4096,
    doc = "Completions handled in one turn of a reactor." },
  { name = "cq_timeout", type = "time", min = 0, max = HOUR, default = 0,
    doc = "Longest sleep of a reactor; 0: until something happens." },
  { name = "max_connections", type = "integer", min = 1, max = 1048576, default = 65536,
    doc = "Connections of one reactor." },
  { name = "sqpoll", type = "boolean", default = false,
    doc = "Let a kernel thread submit (SQPOLL); costs a CPU per reactor." },
  { name = "sq_cpu", type = "integer", min = -1, max = 1023, default = -1,
    doc = "CPU of that thread; -1: any." },
  { name = "sq_idle", type = "time", min = 0.001, max = 600, default = 0.1,
    doc = "That thread sleeps after so long without work." },
}

local timeouts = {
  { name = "read", type = "time", min = 0, max = WEEK, default = 0,
    doc = "Longest wait of a parked read; 0: none." },
  { name = "write", type = "time", min = 0, max = WEEK, default = 60,
    doc = "Longest time in which the peer takes nothing of what is staged; 0: none." },
  { name = "idle", type = "time", min = 0, max = WEEK, default = 0,
    doc = "Longest time without a byte either way; 0: none." },
  { name = "connect", type = "time", min = 0, max = WEEK, default = 5,
    doc = "Longest time to connect to the target of `forward`; 0: as long as the kernel tries." },
  { name = "handshake", type = "time", min = 0, max = WEEK, default = 5,
    doc = "Longest wait for the PROXY protocol header; 0: none." },
  { name = "total", type = "time", min = 0, max = WEEK, default = 0,
    doc = "Longest time that a relay may last; 0: none." },
  { name = "header", type = "time", min = 0, max = WEEK, default = 10,
    doc = "Longest time from the first byte of an HTTP head to its last; 0: none." },
  { name = "body", type = "time", min = 0, max = WEEK, default = 60,
    doc = "Longest wait for more of a request's body; 0: none." },
  { name = "keepalive", type = "time", min = 0, max = WEEK, default = 75,
    doc = "Longest wait for the next request on a connection; 0: none." },
}

local limits = {
  { name = "header_bytes", type = "size", min = 512, max = 64 * KIB - 1, default = 16 * KIB,
    doc = "Bytes of the head of a request." },
  { name = "headers", type = "integer", min = 1, max = 128, default = 100,
    doc = "Fields in the head of a request." },
  { name = "body_bytes", type = "size", min = 0, max = 2 ^ 53, default = M.INHERIT,
    doc = "Bytes of the body of a request; \"1m\" for handlers, no limit where it is forwarded." },
  { name = "connections_per_ip", type = "integer", min = 0, max = 2 ^ 31 - 1, default = 0,
    doc = "Connections of one client address at once, in all reactors; 0: no limit." },
}

local tcp = {
  { name = "nodelay", type = "boolean", default = true, doc = "TCP_NODELAY." },
  { name = "keepalive", type = "boolean", default = false,
    doc = "SO_KEEPALIVE, with the kernel's intervals." },
  { name = "fastopen", type = "integer", min = 0, max = 65535, default = 0,
    doc = "Queue length of TCP Fast Open; 0: off." },
  { name = "user_timeout", type = "time", min = 0, max = WEEK, default = 0,
    doc = "TCP_USER_TIMEOUT; 0: the kernel's." },
}

local forward_headers = {
  { name = "x_forwarded", type = "boolean", default = true,
    doc = "X-Forwarded-For, -Proto, -Host and -Port, and X-Real-IP." },
  { name = "request_id", type = "boolean", default = true, doc = "X-Request-ID." },
  { name = "forwarded", type = "boolean", default = false, doc = "Forwarded (RFC 7239)." },
  { name = "via", type = "boolean", default = false,
    doc = "Via, of the request and of the answer." },
}

local ROUTE_PATH = "^/[^%c?#]*$"

local route = {
  { name = "host", type = "host",
    doc = 'Host of its requests, or "*.a.example" for all below that; without it, any.' },
  { name = "path", type = "string", pattern = ROUTE_PATH, what = 'a path such as "/api/"',
    default = "/", max = 1024,
    doc = "What the paths of its requests begin with: the longest one that fits wins." },
  { name = "handler", type = "handler",
    doc = "Function, or path of a Lua file that returns the handler." },
  { name = "forward", type = "forward", doc = "Forward to this upstream or target." },
  { name = "strip", type = "string", pattern = ROUTE_PATH, what = 'a path such as "/api"',
    max = 1024, doc = "The front of the path, which the upstream does not get to see." },
  { name = "headers", type = "headers",
    doc = "Fields of the request to set on its way to the upstream; false removes one." },
  { name = "response_headers", type = "headers",
    doc = "Fields of the answer to set on its way to the client; false removes one." },
}

local listener = {
  { name = "port", type = "integer", min = 1, max = 65535, doc = "TCP port." },
  { name = "address", type = "address",
    doc = "IPv4 or IPv6 address; without it, all of acceptor.ip_version." },
  { name = "path", type = "path",
    doc = "Unix socket instead of a port; \"@name\" is in the abstract namespace." },
  { name = "mode", type = "mode", doc = "Permissions of the unix socket's file, octal." },
  { name = "name", type = "string", what = "a name", doc = "Name in logs, and conn.listener." },
  { name = "handler", type = "handler",
    doc = "Function, or path of a Lua file that returns the handler." },
  { name = "forward", type = "forward",
    doc = "Forward connections, or HTTP requests, to this upstream or target." },
  { name = "routes", type = "list", fields = route, min = 1, max = M.ROUTES_MAX, optional = true,
    what = 'a list of routes such as { { path = "/api/", forward = "api" } }',
    doc = "Who answers which HTTP requests, in place of one handler or `forward`." },
  { name = "headers", type = "headers",
    doc = "Fields that forwarded HTTP requests get; false removes one." },
  { name = "response_headers", type = "headers",
    doc = "Fields that the answers to them get; false removes one." },
  { name = "forward_headers", type = "table", fields = forward_headers,
    doc = "What forwarded HTTP requests say of where they come from." },
  { name = "protocol", type = "enum", values = { "tcp", "http" }, default = "tcp",
    doc = "What it speaks: any protocol, by whole connections, or HTTP, request by request." },
  { name = "backlog", type = "integer", min = 1, max = 65535, default = M.INHERIT,
    doc = "As acceptor.backlog, for this listener." },
  { name = "max_connections", type = "integer", min = 0, max = 2 ^ 31 - 1, default = 0,
    doc = "Connections of this listener at once, in all reactors; 0: no limit of its own." },
  { name = "write_buffer_max", type = "size", min = 4 * KIB, max = GIB, default = 256 * KIB,
    doc = "Staged bytes above which a writer parks." },
  { name = "timeouts", type = "table", fields = timeouts, doc = "Defaults of conn:timeout()." },
  { name = "tcp", type = "table", fields = tcp, doc = "Socket options of its connections." },
  { name = "proxy_protocol", type = "boolean", default = false,
    doc = "Expect a PROXY protocol header, version 1 or 2, from those who are trusted." },
  { name = "trusted", type = "list", item = "range", min = 0, max = M.TRUSTED_MAX,
    what = 'a list of address ranges such as { "10.0.0.0/8", "::1", "unix" }',
    doc = "Whose PROXY protocol headers are believed (empty: everybody's), and whose X-Forwarded- "
      .. "fields (empty: nobody's)." },
  { name = "limits", type = "table", fields = limits, doc = "Of clients and HTTP requests." },
}

local server = {
  { name = "address", type = "target", required = true, doc = "where to connect to" },
  { name = "weight", type = "integer", min = 1, max = 65535, default = 1,
    doc = "Its share of the connections, beside those of the others." },
  { name = "backup", type = "boolean", default = false,
    doc = "Used only when no other server can take a connection." },
  { name = "max_connections", type = "integer", min = 0, max = 2 ^ 31 - 1, default = M.INHERIT,
    doc = "As the upstream's, for this server." },
}

local health = {
  { name = "interval", type = "time", min = 0.1, max = HOUR, default = 2,
    doc = "Time between two checks of a server." },
  { name = "timeout", type = "time", min = 0.01, max = HOUR, default = 1,
    doc = "A check that takes longer has failed." },
  { name = "rise", type = "integer", min = 1, max = 1000, default = 2,
    doc = "Checks in a row that must pass before a server is up." },
  { name = "fall", type = "integer", min = 1, max = 1000, default = 3,
    doc = "Checks in a row that must fail before a server is down." },
  { name = "path", type = "string", pattern = "^/[^%c ]*$", max = 1024,
    what = 'a path such as "/healthz", without spaces',
    doc = "Path of an HTTP request; without it, a server that accepts a connection is well." },
  { name = "host", type = "string", pattern = "^[^%c ]+$", max = 255,
    what = "a host name, without spaces", doc = "Host of that request; the target by default." },
  { name = "status", type = "status", default = "200-399",
    doc = "Status, or range of them, that an answer must have." },
}

local upstream = {
  { name = "servers", type = "list", item = "server", fields = server, min = 1,
    max = M.UPSTREAM_SERVERS_MAX, required = true,
    what = 'a list of servers such as { "127.0.0.1:3000", { address = "[::1]:3000", weight = 2 } }',
    doc = 'a list of servers such as { "127.0.0.1:3000" }' },
  { name = "balance", type = "enum", default = "round_robin",
    values = { "round_robin", "least_connections", "random_two", "hash" },
    doc = "How connections are shared out among the servers." },
  { name = "keepalive", type = "integer", min = 0, max = 65536, default = 64,
    doc = "Idle connections that each reactor keeps." },
  { name = "connect_timeout", type = "time", min = 0, max = WEEK, default = 1,
    doc = "Longest time to connect to one server; 0: as long as the kernel tries." },
  { name = "read_timeout", type = "time", min = 0, max = WEEK, default = 30,
    doc = "Longest wait for an answer, where there are answers; 0: none." },
  { name = "retries", type = "integer", min = 0, max = M.UPSTREAM_SERVERS_MAX - 1, default = 1,
    doc = "Further servers that are tried when one cannot be connected to." },
  { name = "max_fails", type = "integer", min = 0, max = 1000, default = 3,
    doc = "Failures within fail_timeout after which a server is left out; 0: never." },
  { name = "fail_timeout", type = "time", min = 0, max = WEEK, default = 10,
    doc = "Time in which failures count, and for which a server is left out; 0: never." },
  { name = "health", type = "table", fields = health, optional = true,
    doc = "Active checks of every server; without it there are none." },
  { name = "slow_start", type = "time", min = 0, max = WEEK, default = 0,
    doc = "Time from a server's recovery to its full share; 0: at once." },
  { name = "max_connections", type = "integer", min = 0, max = 2 ^ 31 - 1, default = 0,
    doc = "Connections to each server at once, of all reactors; 0: no limit." },
  { name = "queue", type = "integer", min = 0, max = 1048576, default = 1024,
    doc = "Connections that may wait for a server, when all have max_connections." },
  { name = "queue_timeout", type = "time", min = 0.001, max = HOUR, default = 5,
    doc = "Longest time that one may wait there." },
  { name = "proxy_protocol", type = "integer", min = 0, max = 2, default = 0,
    doc = "Version of the PROXY protocol header that servers get first; 0: none." },
}

local resolver = {
  { name = "servers", type = "list", item = "name_server", min = 0, max = M.RESOLVER_SERVERS_MAX,
    single = true, what = 'a list of addresses such as { "127.0.0.1:53", "[::1]:5353" }',
    doc = "Name servers to ask; those of /etc/resolv.conf by default." },
  { name = "timeout", type = "time", min = 0, max = 60, default = 0,
    doc = "Longest wait for the answer of one server; 0: as /etc/resolv.conf says." },
  { name = "attempts", type = "integer", min = 0, max = 10, default = 0,
    doc = "How often each server is asked; 0: as /etc/resolv.conf says." },
}

local log = {
  { name = "level", type = "enum", values = { "debug", "info", "warn", "error" }, default = "info",
    doc = "Least level that is written." },
  { name = "file", type = "string", what = "\"stderr\", \"stdout\" or a path", default = "stderr",
    doc = "Where the log goes; a path is relative to zerg.lua." },
  { name = "format", type = "enum", values = { "text", "json" }, default = "text",
    doc = "One line of text, or one JSON object, an entry." },
}

M.fields = {
  { name = "reactors", type = "integer", min = 0, max = 256, default = 0,
    doc = "Reactor threads; 0: one per CPU this process may use." },
  { name = "accept", type = "enum", values = { "acceptor", "reuseport" }, default = "acceptor",
    doc = "One accepting thread that deals connections out in turn, or every reactor accepts." },
  { name = "pin_cpus", type = "boolean", default = true,
    doc = "Keep each reactor on a CPU of its own." },
  { name = "acceptor", type = "table", fields = acceptor, doc = "The accepting thread." },
  { name = "reactor", type = "table", fields = reactor, doc = "Each reactor." },
  { name = "listeners", type = "list", fields = listener, min = 1, max = M.LISTENERS_MAX,
    required = true,
    what = 'a list of tables such as { { port = 8080, handler = "handlers/hello.lua" } }',
    doc = "Where connections come in, and who handles them." },
  { name = "upstreams", type = "map", fields = upstream, max = M.UPSTREAMS_MAX,
    what = 'a table of upstreams by name such as { app = { servers = { "127.0.0.1:3000" } } }',
    key_pattern = "^[^%c:/]+$", key_what = 'a name without ":" and "/", which addresses have',
    doc = "Named groups of servers that `forward` may name." },
  { name = "resolver", type = "table", fields = resolver, doc = "How host names are looked up." },
  { name = "lua_path", type = "lua_path", default = "",
    doc = "Where require() looks next, after the directory of zerg.lua; templates joined by ;" },
  { name = "script_memory_max", type = "size", min = MIB, max = 1024 * GIB, default = 256 * MIB,
    doc = "Memory of the scripts of one reactor." },
  { name = "script_stall", type = "time", min = 0, max = HOUR, default = 1,
    doc = "A handler that runs this long without parking is reported; 0: never." },
  { name = "drain_timeout", type = "time", min = 0, max = WEEK, default = 30,
    doc = "How long handlers may finish after TERM; 0: no time at all." },
  { name = "watch", type = "boolean", default = false,
    doc = "Reload when zerg.lua or a script that was loaded changes." },
  { name = "user", type = "string", what = "the name of a user", account = "user",
    doc = "User to become once the sockets are bound." },
  { name = "group", type = "string", what = "the name of a group", account = "group",
    doc = "Group to become; the user's own by default." },
  { name = "control", type = "control", default = M.INHERIT,
    doc = "Unix socket that `zerg status`, `zerg stop` and the like talk to; false: none." },
  { name = "log", type = "table", fields = log, doc = "The process log." },
  { name = "shared", later = "" },
  { name = "admin", later = "" },
  { name = "access_log", later = "" },
}

---The field called `name` of a list of fields.
---@param fields table[]
---@param name any
---@return table|nil
function M.find(fields, name)
  for _, field in ipairs(fields) do
    if field.name == name then
      return field
    end
  end
  return nil
end

---Calls visit(dotted_name, field) for every field, a table's own before those in it; items of a
---list or map are "name[]".
---@param visit fun(name: string, field: table)
---@param fields? table[] all of zerg.lua by default
---@param prefix? string
function M.each(visit, fields, prefix)
  for _, field in ipairs(fields or M.fields) do
    local name = (prefix or "") .. field.name
    visit(name, field)
    if field.fields then
      M.each(visit, field.fields, name .. (field.type == "table" and "." or "[]."))
    end
  end
end

return M
