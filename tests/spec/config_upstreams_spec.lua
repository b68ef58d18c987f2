-- What zerg.lua may say of upstreams, and what is said when it says something else.

local check = require "zerg.config.check"

local function run(upstreams)
  local raw = { listeners = { { port = 1, handler = function() end } }, upstreams = upstreams }
  return check.check(raw, { file = "zerg.lua", directory = "/etc/zerg" })
end

---Problems as "key: message".
local function problems_of(upstreams)
  local texts = {}
  for index, problem in ipairs(select(2, run(upstreams))) do
    texts[index] = ("%s: %s"):format(problem.key, problem.message)
  end
  return texts
end

---The same for an upstream that is right but for what is given.
local function app_problems(app)
  app.servers = app.servers or { "127.0.0.1:3000" }
  return problems_of { app = app }
end

local function app(given)
  given.servers = given.servers or { "127.0.0.1:3000" }
  return assert(run { app = given }).upstreams.app
end

describe("upstreams of zerg.config.check", function()
  it("fills in every default", function()
    assert.same({
      servers = { { address = "127.0.0.1:3000", weight = 1, backup = false, max_connections = 0 } },
      balance = "round_robin", keepalive = 64, connect_timeout = 1, read_timeout = 30, retries = 1,
      max_fails = 3, fail_timeout = 10, slow_start = 0, max_connections = 0, queue = 1024,
      queue_timeout = 5, proxy_protocol = 0,
    }, app {})
    assert.same({ interval = 2, timeout = 1, rise = 2, fall = 3, status = "200-399",
      status_min = 200, status_max = 399 }, app({ health = {} }).health)
    assert.same({}, run(nil).upstreams)
  end)

  it("takes servers as texts and as tables", function()
    local servers = app({ max_connections = 9, servers = {
      "db.internal:5432",
      { address = "unix:a.sock", weight = 2, backup = true },
      { address = "srv:_pg._tcp.db", max_connections = 0 },
      "unix:b.sock",
    } }).servers
    assert.same({
      { address = "db.internal:5432", weight = 1, backup = false, max_connections = 9 },
      { address = "unix:/etc/zerg/a.sock", weight = 2, backup = true, max_connections = 9 },
      { address = "srv:_pg._tcp.db", weight = 1, backup = false, max_connections = 0 },
      { address = "unix:/etc/zerg/b.sock", weight = 1, backup = false, max_connections = 9 },
    }, servers)
  end)

  it("wants at least one server and all of them right", function()
    assert.same({ "upstreams.app.servers: missing: "
      .. 'a list of servers such as { "127.0.0.1:3000" }' }, problems_of { app = {} })
    assert.same({ "upstreams.app.servers: expected at least one" }, app_problems { servers = {} })
    local list = "upstreams.app.servers: expected a list of servers such as "
      .. '{ "127.0.0.1:3000", { address = "[::1]:3000", weight = 2 } }, got '
    assert.same({ list .. '"a:1"' }, app_problems { servers = "a:1" })
    assert.same({ list .. "one table" }, app_problems { servers = { address = "a:1" } })
    assert.same({ "upstreams.app.servers[513]: unknown key: expected positions 1 to 512 only" },
      app_problems { servers = { "a:1", [513] = "b:1" } })
    assert.same({
      'upstreams.app.servers[1]: expected a port from 1 to 65535 behind the last ":", got "a:0"',
      "upstreams.app.servers[2].address: missing: where to connect to",
      "upstreams.app.servers[2].weight: expected a number from 1 to 65535, got 0",
      "upstreams.app.servers[3].adress: unknown key: did you mean `address`?",
    }, app_problems { servers = { "a:0", { weight = 0 }, { address = "b:1", adress = 1 } } })
    assert.matches("^upstreams.app.servers%[1%]: expected an address or host name .* got true$",
      app_problems({ servers = { true } })[1])
    assert.matches("at most 107", app_problems({ servers = { "unix:/" .. ("x"):rep(107) } })[1])
  end)

  it("finds the same server twice", function()
    local message = "upstreams.app.servers[%d]: %s is there already, as servers[1]: "
      .. "a `weight` gives a server more"
    assert.same({ message:format(3, '"[0::1]:80"') }, app_problems {
      servers = { "[::1]:80", "[::1]:81", { address = "[0::1]:80" } } })
    assert.same({ message:format(2, '"unix:/etc/zerg/x"') }, app_problems {
      servers = { "unix:x", "unix:/etc/zerg/x" } })
  end)

  it("wants names that are no addresses", function()
    assert.same({}, problems_of { ["my app.v2"] = { servers = { "a:1" } } })
    for _, name in ipairs { "a:1", "a/b", "", "a\nb", "a\0b" } do
      assert.matches('^upstreams%[".*"%]: expected a name without ":" and "/"',
        problems_of({ [name] = { servers = { "a:1" } } })[1])
    end
    assert.same({ 'upstreams[1]: expected a name without ":" and "/", which addresses have' },
      problems_of { { servers = { "a:1" } } })
    assert.same({ "upstreams.app: expected a table, got true" }, problems_of { app = true })
    local many = {}
    for index = 1, 1025 do
      many["app" .. index] = { servers = { "a:1" } }
    end
    assert.same({ "upstreams: expected at most 1024, got 1025" }, problems_of(many))
  end)

  it("checks the range of every key", function()
    assert.same({
      'upstreams.app.balance: expected "round_robin", "least_connections", "random_two" or "hash", '
        .. 'got "least"',
      "upstreams.app.keep_alive: unknown key: did you mean `keepalive`?",
      "upstreams.app.max_fails: expected a number from 0 to 1000, got 1001",
      "upstreams.app.proxy_protocol: expected a number from 0 to 2, got 3",
      'upstreams.app.queue_timeout: expected a time from "1ms" to "1h", got 0',
      "upstreams.app.retries: expected a number from 0 to 511, got 512",
    }, app_problems { balance = "least", keep_alive = 1, max_fails = 1001, proxy_protocol = 3,
      queue_timeout = 0, retries = 512 })
  end)

  it("takes a status or a range of them", function()
    local function status(value)
      local health = app({ health = { path = "/", status = value } }).health
      return { health.status, health.status_min, health.status_max }
    end
    assert.same({ "200", 200, 200 }, status(200))
    assert.same({ "204", 204, 204 }, status("204"))
    assert.same({ "200-299", 200, 299 }, status("200-299"))
    for _, value in ipairs { "300-200", "99", 600, 200.5, "2xx", "200-", "", true } do
      assert.matches('health.status: expected a status such as 200, or a range such as "200-399"',
        app_problems({ health = { path = "/", status = value } })[1], 1, true)
    end
  end)

  it("checks what an HTTP check asks for", function()
    assert.same({}, app_problems { health = { path = "/ok?x=1", host = "app:80", status = 200 } })
    for _, path in ipairs { "ok", "", "/a b", "/a\r\nb", "/\0", 1 } do
      assert.matches('health.path: expected a path such as "/healthz", without spaces, got',
        app_problems({ health = { path = path } })[1], 1, true)
    end
    assert.matches("health.path: .* has 1025 bytes, expected at most 1024$",
      app_problems({ health = { path = "/" .. ("x"):rep(1024) } })[1])
    assert.matches("health.host: expected a host name, without spaces",
      app_problems({ health = { path = "/", host = "a\r\nb" } })[1], 1, true)
    assert.same({ "upstreams.app.health.host: goes with `path` only",
      "upstreams.app.health.status: goes with `path` only" },
      app_problems { health = { host = "a", status = 200 } })
    assert.same({ "upstreams.app.health: expected a table, got true" },
      app_problems { health = true })
  end)
end)
