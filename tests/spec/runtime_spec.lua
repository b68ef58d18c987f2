-- What C calls: loading handlers, hooks, serving; and the module zerg as it is then.

local engine = require("support.engine")
local raises = require("support.raises")
local ffi = require("ffi")
local park = require("zerg.park")
local readonly = require("zerg.readonly")
local runtime = require("zerg.runtime")
local trace = require("zerg.trace")
local zerg = require("zerg")

local raw_print, raw_path = print, package.path

local function write_script(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

describe("zerg.runtime", function()
  local paths

  before_each(function()
    paths = {}
  end)

  after_each(function()
    for _, path in ipairs(paths) do
      os.remove(path)
    end
    trace.stop()
    park.uninstall(coroutine)
    print = raw_print -- luacheck: ignore 121
    package.path = raw_path
  end)

  local function script(text)
    paths[#paths + 1] = write_script(text)
    return paths[#paths]
  end

  it("loads a file once for several listeners, runs its hooks and serves", function()
    zerg.events = {}
    local path = script([[
      local zerg = require("zerg")
      table.insert(zerg.events, "loaded")
      local function note(event)
        return function() table.insert(zerg.events, event) end
      end
      return {
        start = note("start"),
        stop = note("stop"),
        serve = function(conn, state)
          table.insert(zerg.events, { conn.id, state, conn.ctx })
        end,
      }
    ]])
    local inline
    assert(runtime.load({
      config = {
        listeners = {
          { handler_path = path },
          { handler_path = path },
          {
            handler = function(conn)
              inline = conn
            end,
          },
        },
      },
    }))
    engine.call(runtime.start)
    engine.call(runtime.serve, 2, ffi.cast("void *", 0), 1, 0, 77)
    engine.call(runtime.serve, 3, ffi.cast("void *", 0), 2, 0, 78)
    engine.call(runtime.stop)
    assert.same({ "loaded", "start", { 77, nil, {} }, "stop" }, zerg.events)
    assert.equal(78, inline.id)
    zerg.events = nil
  end)

  it("sets the state up", function()
    local path = script([[
      assert(coroutine.wrap == require("zerg.park").wrap)
      print("hello", 1)
      return function() end
    ]])
    engine.forget_log()
    assert(runtime.load({
      config = { listeners = { { handler_path = path } }, drain_timeout = 30 },
      directory = "/nowhere",
      lua_path = "/lib/?.lua",
    }))
    assert.same({ "hello\t1" }, engine.forget_log())
    assert.equal(1, package.path:find("/nowhere/?.lua;/nowhere/?/init.lua;/lib/?.lua;", 1, true))
    assert.equal(30, zerg.config.drain_timeout)
    assert.equal(2, zerg.reactor)
    assert.equal(4, zerg.reactors)
    assert.equal("9.9.9", zerg.version)
    assert.equal(zerg.now() + 1e9, zerg.time())
    assert.same({ a = { 1, 2 } }, zerg.json.decode(zerg.json.encode({ a = { 1, 2 } })))
  end)

  it("says which file and line is wrong, and that first", function()
    for text, expected in pairs({
      ["return 5"] = "^/[^:]*: expected .*function.*, got 5",
      ["return { start = print }"] = "^/[^:]*: `serve`",
      ["return {\n"] = "^/[^:]*:%d+: ",
      ["\nerror('boom')"] = "^/[^:]*:2: boom$",
    }) do
      local listeners = { { handler_path = script(text) } }
      local ok, message = runtime.load({ config = { listeners = listeners } })
      assert.is_nil(ok)
      assert.matches(expected, message)
    end
  end)

  it("refuses a handler with migrate that only HTTP has", function()
    local path = script("return {\n  serve = print,\n  migrate = print,\n}")
    local http = { routes = { { handler_path = path } } }
    local ok, message = runtime.load({ config = { listeners = { http } } })
    assert.is_nil(ok)
    assert.matches("^/[^:]*: `migrate` is never called: only HTTP has this handler", message)
    assert.is_true(runtime.load({ config = { listeners = { http, { handler_path = path } } } }))
  end)

  it("tells C of compiled code", function()
    engine.traces = engine.traces or {}
    trace.start()
    local before = #engine.traces
    local sum
    local tries = 0
    repeat -- the compiler may give up on a trace, and tries again after a random number of rounds
      sum = 0
      for index = 1, 1000 do
        sum = sum + index
      end
      tries = tries + 1
    until engine.traces[before + 1] or tries == 100
    trace.stop()
    if jit.status() then
      local last = engine.traces[before + 1]
      assert.matches("runtime_spec.lua:%d+", last.place)
      assert.is_true(last.address > 0 and last.len > 0)
    end
    assert.equal(500500, sum)
  end)
end)

describe("zerg.readonly", function()
  local face = readonly.wrap({ listeners = { { port = 7 }, { port = 8 } }, name = "x" })

  it("reads like a table", function()
    assert.equal("x", face.name)
    assert.is_nil(face.other)
    assert.equal(2, #face.listeners)
    assert.equal(8, face.listeners[2].port)
    local ports, keys = {}, {}
    for index, listener in ipairs(face.listeners) do
      ports[index] = listener.port
    end
    for key in pairs(face) do
      keys[key] = true
    end
    assert.same({ 7, 8 }, ports)
    assert.same({ listeners = true, name = true }, keys)
  end)

  it("cannot be changed", function()
    raises(function()
      face.name = "y"
    end, "runtime_spec.lua:%d+: zerg.config is read%-only %(key 'name'%)")
    assert.has_error(function()
      face.listeners[1].port = 1
    end)
  end)
end)
