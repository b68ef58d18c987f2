-- What zerg.lua may say, and what is said when it says something else.

local check = require "zerg.config.check"
local schema = require "zerg.config.schema"

local function handler() end

---@return table|nil normalised, table problems
local function run(raw, context)
  context = context or {}
  context.file, context.directory = "zerg.lua", context.directory or "."
  return check.check(raw, context)
end

---Checks a configuration that is right but for what is given; problems as "key: message".
local function problems_of(raw, context)
  raw.listeners = raw.listeners or { { port = 7000, handler = handler } }
  local texts = {}
  for index, problem in ipairs(select(2, run(raw, context))) do
    texts[index] = ("%s: %s"):format(problem.key, problem.message)
  end
  return texts
end

---The same for one listener.
local function listener_problems(listener)
  if listener.handler == nil then
    listener.handler = handler
  end
  return problems_of { listeners = { listener } }
end

describe("zerg.config.check", function()
  it("fills in every default", function()
    local config = assert(run { listeners = { { port = 7000, handler = handler } } })
    assert.same({
      reactors = 0, accept = "acceptor", pin_cpus = true,
      acceptor = { ring_entries = 256, backlog = 65535, ip_version = "dual" },
      reactor = {
        ring_entries = 8192, recv_buffer_size = "auto", buffer_ring_entries = "auto",
          incremental = "auto",
        batch_cqes = 4096, cq_timeout = 0, max_connections = 65536, sqpoll = false, sq_cpu = -1,
          sq_idle = 0.1,
      },
      upstreams = {}, resolver = { servers = {}, timeout = 0, attempts = 0 },
      lua_path = "", script_memory_max = 256 * 2 ^ 20, script_stall = 1, drain_timeout = 30,
      log = { level = "info", file = "stderr", format = "text" },
    }, (function()
      local rest = {}
      for key, value in pairs(config) do
        rest[key] = key ~= "listeners" and value or nil
      end
      return rest
    end)())
    local listener = config.listeners[1]
    assert.matches("config_check_spec%.lua:%d+ %(function%)$", listener.handler_label)
    listener.handler_label = nil
    assert.same({
      name = "*:7000", port = 7000, handler = handler, protocol = "tcp", backlog = 65535,
        ip_version = "dual",
      max_connections = 0, write_buffer_max = 262144, proxy_protocol = false, trusted = {},
      timeouts = { read = 0, write = 60, idle = 0, connect = 5, handshake = 5, total = 0,
        header = 10, body = 60, keepalive = 75 },
      limits = { header_bytes = 16384, headers = 100, connections_per_ip = 0 },
      forward_headers = { x_forwarded = true, request_id = true, forwarded = false, via = false },
      tcp = { nodelay = true, keepalive = false, fastopen = 0, user_timeout = 0 },
    }, listener)
  end)

  it("has a default inside the range of every key", function()
    schema.each(function(name, field)
      assert.is_true(field.later ~= nil or field.doc ~= nil, name)
      if type(field.default) == "number" then
        assert.is_true(field.default >= field.min and field.default <= field.max, name)
      end
    end)
  end)

  it("normalises sizes, times and modes", function()
    local config = assert(run {
      script_memory_max = "64m", drain_timeout = "2m",
        reactor = { recv_buffer_size = "16k", sq_idle = "5ms" },
      listeners = { { path = "/tmp/x.sock", mode = "0660", handler = handler,
        write_buffer_max = "1m",
        timeouts = { read = "500ms", idle = 90, connect = 0 } } },
    })
    assert.equal(64 * 2 ^ 20, config.script_memory_max)
    assert.equal(120, config.drain_timeout)
    assert.equal(16384, config.reactor.recv_buffer_size)
    assert.equal(0.005, config.reactor.sq_idle)
    assert.equal(432, config.listeners[1].mode)
    assert.equal(2 ^ 20, config.listeners[1].write_buffer_max)
    assert.same({ read = 0.5, write = 60, idle = 90, connect = 0, handshake = 5, total = 0,
      header = 10, body = 60, keepalive = 75 }, config.listeners[1].timeouts)
  end)

  it("takes both ends of a range and nothing past them", function()
    for _, port in ipairs { 1, 65535 } do
      assert.same({}, listener_problems { port = port })
    end
    for _, port in ipairs { 0, 65536, -1 } do
      assert.same({ ("listeners[1].port: expected a number from 1 to 65535, got %d"):format(port) },
        listener_problems { port = port })
    end
    assert.same({}, problems_of { reactors = 256 })
    assert.same({ "reactors: expected a number from 0 to 256, got 257" },
      problems_of { reactors = 257 })
    assert.same({ "reactor.max_connections: expected a number from 1 to 1048576, got 0" },
      problems_of { reactor = { max_connections = 0 } })
  end)

  it("names the key by its full path and shows what it got", function()
    assert.same({ 'listeners[2].port: expected a number from 1 to 65535, got "80a"' }, problems_of {
      listeners = { { port = 1, handler = handler }, { port = "80a", handler = handler } } })
    assert.same({ "reactors: expected a whole number, got 1.5" }, problems_of { reactors = 1.5 })
    assert.same({ "pin_cpus: expected true or false, got 1" }, problems_of { pin_cpus = 1 })
    assert.same({ 'accept: expected "acceptor" or "reuseport", got "accepter"' },
      problems_of { accept = "accepter" })
    assert.same({ 'acceptor.ip_version: expected "dual", "v4" or "v6", got 4' },
      problems_of { acceptor = { ip_version = 4 } })
    assert.same({ "log: expected a table, got true" }, problems_of { log = true })
    assert.same({ 'log.file: expected "stderr", "stdout" or a path, got ""' },
      problems_of { log = { file = "" } })
    assert.same({ 'drain_timeout: expected a time from 0 to "7d", got "soon"' },
      problems_of { drain_timeout = "soon" })
    assert.same({ 'script_memory_max: expected a size from "1m" to "1024g", got "1k"' },
      problems_of { script_memory_max = "1k" })
    assert.same({ 'listeners[1].timeouts.read: expected a time from 0 to "7d", got -1' },
      listener_problems { port = 1, timeouts = { read = -1 } })
  end)

  it("wants powers of two where the kernel does", function()
    local got = 'reactor.recv_buffer_size: expected "auto" or a power of two from "1k" to "1m", '
      .. "got %s"
    assert.same({ got:format("5000") }, problems_of { reactor = { recv_buffer_size = 5000 } })
    assert.same({ got:format('"512"') }, problems_of { reactor = { recv_buffer_size = "512" } })
    assert.same({ "reactor.buffer_ring_entries: "
      .. 'expected "auto" or a power of two from 1 to 32768, got 100' },
      problems_of { reactor = { buffer_ring_entries = 100 } })
    assert.same({}, problems_of { reactor = { buffer_ring_entries = 4, recv_buffer_size = "1m" } })
  end)

  it("takes auto only where it stands for something", function()
    assert.same({}, problems_of { reactor = { incremental = "auto", recv_buffer_size = "auto" } })
    assert.same({}, problems_of { reactor = { incremental = false } })
    assert.same({ 'reactor.incremental: expected "auto", true or false, got "yes"' },
      problems_of { reactor = { incremental = "yes" } })
    assert.same({ 'reactors: expected a number from 0 to 256, got "auto"' },
      problems_of { reactors = "auto" })
  end)

  it("reports unknown keys with the nearest known one", function()
    assert.same({ "acceptor.backlogs: unknown key: did you mean `backlog`?",
      "listeners[1].hanlder: unknown key: did you mean `handler`?",
      "listeners[1].timeouts.reed: unknown key: did you mean `read`?",
      "reactros: unknown key: did you mean `reactors`?" }, problems_of {
      reactros = 1, acceptor = { backlogs = 1 },
      listeners = { { port = 1, handler = handler, hanlder = 1, timeouts = { reed = 1 } } },
    })
    assert.same({ "colour: unknown key" }, problems_of { colour = "red" })
    assert.same({ "[1]: unknown key" }, problems_of { "red" })
  end)

  it("says where a key belongs that stands in the wrong table", function()
    assert.same({ "batch_cqes: unknown key: did you mean `reactor.batch_cqes`?",
      "nodelay: unknown key: did you mean `listeners[].tcp.nodelay`?" },
      problems_of { batch_cqes = 1, nodelay = true })
  end)

  it("refuses what a later version will have, and says what to use", function()
    assert.same({ "shared: `shared` is not available in this version (0.1.0)" },
      problems_of({ shared = { a = "1m" } }, { version = "0.1.0" }))
    assert.same({ "access_log: `access_log` is not available in this version",
      "admin: `admin` is not available in this version",
      "shared: `shared` is not available in this version" }, problems_of {
      access_log = { file = "x" }, admin = { port = 1 }, shared = { a = "1m" } })
  end)

  it("lets later keys stand that ask for nothing", function()
    assert.same({}, problems_of { access_log = false, shared = {}, admin = false })
  end)

  it("takes a control socket's file beside it, or none", function()
    local listeners = { { port = 7000, handler = handler } }
    local function control_of(value)
      return assert(run({ control = value, listeners = listeners }, { directory = "conf" })).control
    end
    assert.is_nil(control_of(nil))
    assert.is_false(control_of(false))
    assert.equal("conf/c.sock", control_of("c.sock"))
    assert.equal("/run/c.sock", control_of("/run/c.sock"))
    for _, wrong in ipairs { true, "", "@name", "a\0b", "conf/", 7 } do
      local problems = problems_of { control = wrong }
      assert.matches("^control: expected the path of a unix socket's file, or false, got ",
        problems[1])
    end
    assert.matches("^control: .* has 96 bytes, a unix socket's path at most 95$",
      problems_of({ control = "/" .. ("x"):rep(95) })[1])
  end)

  it("checks one key alone, whatever is wrong with the others", function()
    local context = { file = "zerg.lua", directory = "conf" }
    local function key(raw)
      local value, problems = check.check_key(raw, "control", context)
      return value, problems[1] and problems[1].message
    end
    assert.same({ "conf/c" }, { key { control = "c", listeners = 7, what = "else" } })
    assert.same({ false }, { key { control = false } })
    assert.same({ nil }, { key {} })
    assert.same({ nil, "expected the path of a unix socket's file, or false, got 1" },
      { key { control = 1 } })
    assert.same({ nil, "expected the file to return a table, got nil" }, { key(nil) })
  end)

  it("puts routes into the order in which they are tried", function()
    local config = assert(run { listeners = { { port = 1, protocol = "http", routes = {
      { path = "/", handler = handler },
      { host = "*.example", forward = "127.0.0.1:1" },
      { host = "A.example", path = "/a", forward = "127.0.0.1:2", strip = "/" },
      { host = "*.a.example", forward = "127.0.0.1:3" },
      { path = "/long/", forward = "127.0.0.1:4" },
      { host = "a.example", path = "/a/b", forward = "127.0.0.1:5" },
    } } } })
    local order = {}
    for index, route in ipairs(config.listeners[1].routes) do
      order[index] = (route.host or "any") .. route.path
    end
    assert.same({ "a.example/a/b", "a.example/a", "*.a.example/", "*.example/", "any/long/",
      "any/" }, order)
    assert.equal("6 routes", config.listeners[1].handler_label)
    assert.equal(2 ^ 53, config.listeners[1].routes[1].body_bytes)
    assert.equal(2 ^ 20, config.listeners[1].routes[6].body_bytes)
  end)

  it("makes one route of a listener without", function()
    local config = assert(run { listeners = { { port = 1, protocol = "http", forward = "[::1]:1",
      headers = { b = 1, A = false }, limits = { body_bytes = "2k" } } } })
    assert.same({ { path = "/", forward = "[::1]:1", handler_label = "forward to [::1]:1",
      headers = { { name = "A" }, { name = "b", value = "1" } }, body_bytes = 2048 } },
      config.listeners[1].routes)
    assert.equal("forward to [::1]:1", config.listeners[1].handler_label)
  end)

  it("checks routes", function()
    local function problems_with(listener)
      listener.port, listener.protocol = 1, listener.protocol or "http"
      return problems_of { listeners = { listener } }
    end
    local function route_problems(route)
      local problems = problems_with { routes = { route } }
      return problems[1] and problems[1]:gsub("^listeners%[1%]%.routes%[1%]", "")
    end
    local forward = "127.0.0.1:1"
    assert.is_nil(route_problems { host = "[::1]", path = "/a b", forward = forward })
    for _, path in ipairs { "/a%20b", "/a/../b", "/./", "/a/.." } do
      assert.matches("^%.path: expected a path without escapes and dot segments",
        route_problems { path = path, forward = forward })
    end
    assert.same({ 1, 1 }, { #problems_with { routes = { { forward = forward, host = "a:80" },
      { forward = forward } } }, #problems_with { routes = { { forward = forward }, {} } } })
    assert.matches("^listeners%[1%]%.headers: goes with `forward` only",
      problems_with({ handler = handler, headers = { A = "b" } })[1])
    assert.equal(": expected `handler` or `forward`: who answers", route_problems { path = "/" })
    assert.matches("^%.forward: give `handler` or `forward`, not both",
      route_problems { handler = handler, forward = forward })
    assert.matches("^%.strip: goes with `forward` only",
      route_problems { handler = handler, strip = "/" })
    assert.matches("^%.strip: expected the front of `path`, which is \"/a\"",
      route_problems { path = "/a", forward = forward, strip = "/b" })
    assert.matches("^%.path: expected a path such as \"/api/\", got \"api\"",
      route_problems { path = "api", forward = forward })
    for _, host in ipairs { "*", "*.", "a*.b", "a:80", "a b", 5 } do
      assert.matches("^%.host: expected a host such as", route_problems {
        host = host, forward = forward })
    end
    assert.matches("^%.forward: there is no upstream `app`", route_problems { forward = "app" })
    assert.matches("^%.headers%.Connection: cannot be set",
      route_problems { forward = forward, headers = { Connection = "close" } })
    assert.matches("^%.headers%.A: expected a value without control characters",
      route_problems { forward = forward, headers = { A = "b\r\nC: d" } })
    assert.matches("^%.headers%.A: expected a value without blanks",
      route_problems { forward = forward, headers = { A = " b" } })
    assert.matches("no header field can have that name",
      route_problems { forward = forward, response_headers = { ["A:"] = "b" } })
    assert.same({ "listeners[1].routes[2]: route 1 has the same host and path" },
      problems_with { routes = { { forward = forward },
        { path = "/", forward = forward } } })
    assert.same({ "listeners[1].handler: give `handler` or `routes`, not both: "
      .. "a route may have it" }, problems_with { handler = handler,
        routes = { { forward = forward } } })
    assert.same({ 'listeners[1].routes: goes with protocol "http" only' },
      problems_with { protocol = "tcp", routes = { { forward = forward } } })
  end)

  it("wants a list of listeners", function()
    local sample = 'a list of tables such as { { port = 8080, handler = "handlers/hello.lua" } }'
    local function listeners(value)
      return problems_of { listeners = value }
    end
    assert.same({ "listeners: expected " .. sample .. ", got one table" }, listeners { port = 1 })
    assert.same({ "listeners: expected " .. sample .. ", got 7000" }, listeners(7000))
    assert.same({ "listeners: expected at least one" }, listeners {})
    assert.same({ "listeners[2]: expected a table, got nil" },
      listeners { { port = 1, handler = handler }, nil, { port = 2, handler = handler } })
    assert.same({ "listeners[5000]: unknown key: expected positions 1 to 1024 only" },
      listeners { { port = 1, handler = handler }, [5000] = {} })
    assert.same({ "listeners.web: unknown key: expected positions 1 to 1024 only" },
      listeners { { port = 1, handler = handler }, web = {} })
    local _, problems = run {}
    assert.same({ "listeners" }, { problems[1].key })
    assert.matches("^missing: ", problems[1].message)
  end)

  it("wants a table", function()
    for _, value in ipairs { 1, "x", print, false } do
      local config, problems = run(value)
      assert.is_nil(config)
      assert.matches("^expected the file to return a table, got ", problems[1].message)
      assert.is_nil(problems[1].key)
    end
  end)

  it("wants a port or a path and not both", function()
    assert.same({ "listeners[1]: expected `port` or `path`: where to listen" },
      listener_problems {})
    assert.same({ "listeners[1].path: give `port` or `path`, not both" },
      listener_problems { port = 1, path = "/x" })
    assert.same({ "listeners[1].address: goes with `port` only",
      "listeners[1].tcp: goes with `port` only" },
      listener_problems { path = "/x", address = "::1", tcp = {} })
    assert.same({ "listeners[1].mode: goes with `path` only" },
      listener_problems { port = 1, mode = "0600" })
  end)

  it("checks addresses", function()
    for _,
      address in ipairs { "127.0.0.1", "0.0.0.0", "::1", "::", "2001:db8::17", "::ffff:1.2.3.4",
      "fe80::1%lo" } do
      assert.same({}, listener_problems { port = 1, address = address })
    end
    for _,
      address in ipairs { "localhost", "127.0.0.1:80", "127.1", "1.2.3.256", "", "::1%",
      "1.2.3.4%lo",
      "fe80::1%none", "::g", 127 } do
      local problems = listener_problems { port = 1, address = address }
      assert.equal(1, #problems, address)
      assert.matches("listeners[1].address: expected an IPv4 or IPv6 address such as",
        problems[1], 1, true)
    end
    assert.matches("no brackets here", listener_problems({ port = 1, address = "[::1]" })[1], 1,
      true)
  end)

  it("checks unix paths", function()
    assert.same({}, listener_problems { path = "/" .. ("x"):rep(106) })
    assert.matches("has 108 bytes, a unix socket's path at most 107",
      listener_problems({ path = "/" .. ("x"):rep(107) })[1], 1, true)
    assert.same({}, listener_problems { path = "@abstract" })
    for _, path in ipairs { "", "@", 5, "a\0b" } do
      assert.matches("expected the path of a unix socket", listener_problems({ path = path })[1], 1,
        true)
    end
    assert.same({ "listeners[1].mode: an abstract socket has no file to set it on" },
      listener_problems { path = "@x", mode = "0600" })
    local config = run({ listeners = { { path = "a.sock", handler = handler } } },
      { directory = "conf" })
    assert.equal("conf/a.sock", config.listeners[1].path)
    assert.equal("unix:conf/a.sock", config.listeners[1].name)
  end)

  it("wants modes as octal digits in quotes", function()
    for _, mode in ipairs { "0660", "600", "0777" } do
      assert.same({}, listener_problems { path = "/x", mode = mode })
    end
    for _, mode in ipairs { 660, "0888", "rw", "", "06600" } do
      assert.matches('expected octal digits in quotes such as "0660"',
        listener_problems({ path = "/x", mode = mode })[1], 1, true)
    end
  end)

  it("finds two listeners in one place", function()
    local function pair(first, second, ip_version)
      first.handler, second.handler = handler, handler
      return problems_of { listeners = { first, second }, acceptor = { ip_version = ip_version } }
    end
    local same = { "listeners[2].port: listeners[1] has the same address and port" }
    assert.same(same, pair({ port = 1 }, { port = 1 }))
    assert.same(same, pair({ port = 1, address = "::1" }, { port = 1, address = "0:0::1" }))
    assert.same(same, pair({ port = 1 }, { port = 1, address = "0.0.0.0" }))
    assert.same(same, pair({ port = 1 }, { port = 1, address = "::" }))
    assert.same({}, pair({ port = 1 }, { port = 1, address = "::" }, "v4"))
    assert.same({}, pair({ port = 1, address = "0.0.0.0" }, { port = 1, address = "::" }))
    assert.same({}, pair({ port = 1, address = "127.0.0.1" }, { port = 1, address = "127.0.0.2" }))
    assert.same({}, pair({ port = 1 }, { port = 2 }))
    assert.same({ "listeners[2].path: listeners[1] has the same path" },
      pair({ path = "/x" }, { path = "/x" }))
    assert.same({ "listeners[2].name: listeners[1] has the same name" },
      pair({ port = 1, name = "a" }, { port = 2, name = "a" }))
  end)

  it("wants a handler that is there and compiles", function()
    assert.same({ "listeners[1]: "
      .. "`handler` is missing: a function or the path of a Lua file; or `forward`" },
      problems_of { listeners = { { port = 1 } } })
    assert.same({ "listeners[1].handler: expected a function or the path of a Lua file, got 5" },
      listener_problems { port = 1, handler = 5 })
    assert.same({ "listeners[1].handler: no/such.lua: No such file or directory" },
      listener_problems { port = 1, handler = "no/such.lua" })
    assert.same({ "listeners[1].handler: /tmp: Is a directory" },
      listener_problems { port = 1, handler = "/tmp" })
  end)

  it("takes an address to forward to in place of a handler", function()
    local function forwarded(target)
      local context = { directory = "/etc/zerg" }
      local listener = assert(run({ listeners = { { port = 1, forward = target } } }, context))
        .listeners[1]
      assert.equal("forward to " .. listener.forward, listener.handler_label)
      assert.is_nil(listener.handler)
      return listener.forward
    end
    for _, target in ipairs { "127.0.0.1:3000", "[::1]:80", "unix:/run/x", "unix:@x", "db:80" } do
      assert.equal(target, forwarded(target))
    end
    assert.equal("unix:/etc/zerg/x", forwarded("unix:x"))
  end)

  it("refuses what is no target to forward to", function()
    local function wrong(target, what)
      local problems = problems_of { listeners = { { port = 1, forward = target } } }
      assert.equal(1, #problems, tostring(target))
      assert.matches("^listeners%[1%]%.forward: expected ", problems[1])
      assert.matches(what or "an address or host name with a port such as", problems[1], 1, true)
    end
    for _, target in ipairs { "", "127.0.0.1", "::1", ":80", "1.2.3.4:80\0", "/run/x", 80, true } do
      wrong(target, target == "::1" and "an IPv6 address in brackets" or nil)
    end
    wrong("db:0", "a port from 1 to 65535")
    wrong("unix:", 'the path of a socket behind "unix:"')
    assert.same({ "listeners[1].forward: give `handler` or `forward`, not both" },
      listener_problems { port = 1, forward = "127.0.0.1:80" })
    assert.matches("at most 107", problems_of {
      listeners = { { port = 1, forward = "unix:/" .. ("x"):rep(107) } } }[1])
  end)

  it("forwards to upstreams that are there", function()
    local function forward(name)
      return {
        listeners = { { port = 1, forward = name } },
        upstreams = {
          app = { servers = { "127.0.0.1:3000" } },
          ["two of them"] = { servers = { "127.0.0.1:1", "127.0.0.1:2" } },
        },
      }
    end
    assert.same({}, problems_of(forward("app")))
    assert.same({}, problems_of(forward("two of them")))
    assert.same({}, problems_of(forward("app:80")))
    assert.same({ "listeners[1].forward: there is no upstream `ap`: did you mean `app`?" },
      problems_of(forward("ap")))
    assert.same({ "listeners[1].forward: there is no upstream `db.internal`, "
      .. 'and a target has a port: "db.internal:3000"' }, problems_of(forward("db.internal")))
    assert.equal("app", run(forward("app")).listeners[1].forward)
  end)

  it("knows an upstream with problems of its own", function()
    assert.same({ "upstreams.app.retries: expected a number from 0 to 511, got -1" }, problems_of {
      listeners = { { port = 1, forward = "app" } },
      upstreams = { app = { servers = { "127.0.0.1:1" }, retries = -1 } } })
    assert.matches("^upstreams: expected a table of upstreams by name", problems_of {
      listeners = { { port = 1, forward = "127.0.0.1:1" } }, upstreams = "app" }[1])
  end)

  it("takes PROXY protocol headers from ranges of addresses", function()
    local config = assert(run { listeners = { { port = 1, handler = handler, proxy_protocol = true,
      trusted = { "10.0.0.0/8", "::1", "fd00::/0", "127.0.0.1/32", "unix" },
      timeouts = { handshake = "1s", total = "1h" } } } })
    local listener = config.listeners[1]
    assert.is_true(listener.proxy_protocol)
    assert.same({ "10.0.0.0/8", "::1", "fd00::/0", "127.0.0.1/32", "unix" }, listener.trusted)
    assert.same({ 1, 3600 }, { listener.timeouts.handshake, listener.timeouts.total })
    for _, range in ipairs { "10.0.0.0/33", "::1/129", "10.0.0.0/", "10.0.0.0/8/8", "/8",
      "localhost", "10.0.0.0/-1", "fe80::1%lo", "", "unix/1", "10/8", 10, false } do
      assert.same({ 'listeners[1].trusted[1]: expected an address range such as "10.0.0.0/8" or '
        .. '"::1", or "unix", got ' .. require("zerg.config.values").show(range) },
        listener_problems { port = 1, proxy_protocol = true, trusted = { range } })
    end
    assert.same({ 'listeners[1].trusted: goes with `proxy_protocol = true` or protocol "http" '
      .. "only: it says whose headers are believed" },
      listener_problems { port = 1, trusted = { "::1" } })
    assert.same({}, listener_problems { port = 1, trusted = {} })
    local list = 'a list of address ranges such as { "10.0.0.0/8", "::1", "unix" }'
    assert.same({ "listeners[1].trusted: expected " .. list .. ', got "unix"' },
      listener_problems { port = 1, trusted = "unix" })
    assert.same({ "listeners[1].proxy_protocol: expected true or false, got 1" },
      listener_problems { port = 1, proxy_protocol = 1 })
  end)

  it("takes name servers with and without a port", function()
    local function servers(value)
      local config = run { listeners = { { port = 1, handler = handler } },
        resolver = { servers = value, timeout = "500ms", attempts = 2 } }
      return config and config.resolver.servers
    end
    assert.same({ "127.0.0.1:53" }, servers("127.0.0.1"))
    assert.same({ "127.0.0.1:5353", "[::1]:53", "[::1]:53", "[fd00::1]:54" },
      servers { "127.0.0.1:5353", "::1", "[::1]", "[fd00::1]:54" })
    for _, server in ipairs { "localhost", "127.0.0.1:0", "127.0.0.1:", "[127.0.0.1]", "[::1]:",
      "[::1]53x", "fe80::1%lo", ":53", "", 53 } do
      local problems = problems_of { resolver = { servers = { server } } }
      assert.equal(1, #problems, server)
      assert.matches("resolver.servers[1]: expected an address such as "
        .. '"127.0.0.1:53" or "[::1]:53"', problems[1], 1, true)
    end
    assert.matches("^resolver.servers: expected an address", problems_of {
      resolver = { servers = "localhost" } }[1])
    assert.matches("^resolver.servers: expected a list of addresses", problems_of {
      resolver = { servers = 53 } }[1])
  end)

  it("prints the address of a listener without a name", function()
    local function name(listener)
      listener.handler = handler
      return run({ listeners = { listener } }).listeners[1].name
    end
    assert.equal("*:80", name { port = 80 })
    assert.equal("127.0.0.1:80", name { port = 80, address = "127.0.0.1" })
    assert.equal("[::1]:80", name { port = 80, address = "::1" })
    assert.equal("unix:/x", name { path = "/x" })
    assert.equal("web", name { port = 80, name = "web" })
  end)

  it("asks whether user and group exist", function()
    local asked = {}
    local context = { account_exists = function(kind, name)
      asked[kind] = name
      return kind == "user"
    end }
    assert.same({ 'group: there is no group "b" on this machine' },
      problems_of({ user = "a", group = "b" }, context))
    assert.same({ user = "a", group = "b" }, asked)
    assert.same({}, problems_of { user = "whoever" })
    assert.same({ "user: expected the name of a user, got 0" }, problems_of { user = 0 })
  end)

  it("wants a ? in every template of lua_path", function()
    assert.same({}, problems_of { lua_path = "lib/?.lua;/opt/?/init.lua" })
    assert.same({ 'lua_path: "lib" has no ? for the module\'s name' },
      problems_of { lua_path = "lib;x/?.lua" })
    assert.same({ 'lua_path: expected templates such as "lib/?.lua", got a table' },
      problems_of { lua_path = {} })
  end)

  it("finds all problems at once", function()
    assert.equal(6, #problems_of {
      reactors = -1, accept = 1, log = { level = "loud" }, nope = 1,
      listeners = { { port = 0, handler = handler }, { port = 1 } },
    })
  end)
end)
