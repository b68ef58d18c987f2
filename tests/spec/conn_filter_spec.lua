-- conn:forward with filters.

local engine = require("support.engine")
local connects = require("support.engine_connects")
local conns = require("support.engine_conns")
local raises = require("support.raises")
local zerg = require("zerg")

local server

local function forward(filters, opts)
  opts = opts or {}
  opts.filter = filters
  local client = engine.connect(function()
    zerg.sleep(1e6)
  end)
  local task = engine.run(client.conn.forward, client.conn, "app", opts)
  return client, task
end

local function same(data)
  return data
end

describe("conn:forward with filters", function()
  before_each(function()
    connects.reset()
    engine.forget_log()
    connects.targets["app"] = function()
      server = conns.new_peer()
      return server
    end
    connects.targets["down"] = function()
      return nil, "refused"
    end
  end)

  it("passes on what the filters return", function()
    local client, task = forward({
      up = function(data)
        return tostring(data):upper()
      end,
      down = function(data)
        return #data > 3 and data or nil
      end,
    })
    client:send("hello")
    assert.equal("HELLO", server:received())
    server:send("no")
    server:send("long enough")
    assert.equal("long enough", client:received())
    assert.equal(1, connects.staged_without_copy)
    client:finish()
    assert.is_true(server.half_closed)
    server:finish()
    assert.same({ server = "192.0.2.7:40000", bytes_up = 5, bytes_down = 13, duration = 0,
      reason = "closed" }, task.results[1])
    assert.same({
      { target = "app", server = "192.0.2.7:40000", up = 5, down = 13, ending = "--" },
    }, connects.records)
  end)

  it("lets C carry a direction without a filter", function()
    local client, task = forward({ up = same })
    server:send("down")
    assert.equal("down", client:received())
    server:finish()
    client:finish()
    assert.equal(4, task.results[1].bytes_down)
  end)

  it("connects anew, for the client, with its options", function()
    forward({}, { connect_timeout = 1, total_timeout = 5, hash_key = "k", proxy_protocol = 1 })
    local options = connects.options
    assert.same({ 1, 5, "k", 1, true, 1 }, { options.connect_s, options.total_s, options.hash_key,
      options.proxy_version, options.client, options.no_reuse })
  end)

  it("gives nil and a reason when no server was reached", function()
    local client = engine.connect(function(conn)
      conn.ctx.result = { conn:forward("down", { filter = { up = same } }) }
      zerg.sleep(1)
    end)
    assert.same({ nil, "refused" }, client.conn.ctx.result)
    assert.is_nil(client.how)
  end)

  it("passes a reset on, with the record of who broke", function()
    local client, task = forward({ up = same, down = same })
    server:finish("reset")
    engine.turn()
    assert.equal("break", client.how)
    assert.equal("reset", task.results[1].reason)
    assert.equal("SD", connects.records[1].ending)
  end)

  it("ends the other side in order after an idle time-out", function()
    local client, task = forward({ up = same, down = same }, { idle_timeout = 5 })
    assert.equal(5, client.idle_timeout)
    assert.equal(5, server.idle_timeout)
    client:finish("timeout")
    engine.turn()
    assert.equal("close", server.how)
    assert.equal("timeout", task.results[1].reason)
    assert.equal("cD", connects.records[1].ending)
  end)

  it("ends both when the total time has passed", function()
    local client, task = forward({ up = same, down = same }, { total_timeout = 5 })
    engine.advance(5)
    assert.equal("abort", client.how)
    assert.equal("abort", server.how)
    assert.equal("timeout", task.results[1].reason)
    assert.equal("PD", connects.records[1].ending)
  end)

  it("does not mind the listener's read time-out", function()
    local client, task
    client = engine.connect(function(conn)
      conn:timeout({ read = 1 })
      zerg.sleep(1e6)
    end)
    task = engine.run(client.conn.forward, client.conn, "app", { filter = { up = same } })
    engine.advance(10)
    assert.is_nil(task.ended)
    client:send("late")
    assert.equal("late", server:received())
  end)

  it("raises what a filter raised, with its traceback, and cuts both ends", function()
    for _, which in ipairs({ "up", "down" }) do
      local client, task = forward({ [which] = function()
        error("boom")
      end })
      local source = which == "up" and client or server
      source:send("x")
      assert.matches("conn_filter_spec.lua:%d+: boom", task.failure)
      assert.matches("in function 'filter'", require("zerg.task").traceback_of(task.failure))
      assert.equal("abort", client.how)
      assert.equal("abort", server.how)
      assert.same({}, engine.forget_log())
    end
  end)

  it("says what a filter must not return", function()
    local client, task = forward({ up = function()
      return {}
    end })
    client:send("x")
    assert.equal("conn:forward: filter.up: expected a sequence, view, string or nil, got table",
      task.failure)
    client, task = forward({ up = function(data)
      data:release()
      return data
    end })
    client:send("x")
    assert.equal("conn:forward: filter.up: view used after release", task.failure)
  end)

  it("cuts both ends when a side is out of memory", function()
    local C = require("zerg.ffi").C
    for name, ways in pairs({ zerg_conn_read = "read", zerg_conn_pass_seq = "pass" }) do
      local client, task = forward({ up = same, down = same })
      local real = C[name]
      C[name] = function(handle, ...)
        local rc = real(handle, ...)
        return rc == C.ZERG_OK and C.ZERG_NO_MEMORY or rc
      end
      client:send("x")
      C[name] = real
      assert.equal("limit: out of memory", task.results[1].reason, ways)
      assert.equal("abort", client.how)
      assert.equal("abort", server.how)
      assert.equal("RD", connects.records[#connects.records].ending)
    end
  end)

  it("leaves nothing behind when there is no memory for its tasks", function()
    local native = require("zerg.native")
    local client = engine.connect(function()
      zerg.sleep(1e6)
    end)
    for failing = 1, 2 do
      local spawn, count = native.spawn, 0
      native.spawn = function(...)
        count = count + 1
        if count == failing then
          error("no memory for a task")
        end
        return spawn(...)
      end
      local task = engine.run(client.conn.forward, client.conn, "app",
        { filter = { up = same }, total_timeout = 5 })
      native.spawn = spawn
      assert.matches("no memory for a task", task.failure)
      assert.equal("abort", client.how)
      assert.equal("abort", server.how)
      engine.advance(10)
      assert.equal(1, #connects.records)
      assert.same({}, engine.forget_log())
      connects.records = {}
      client = engine.connect(function()
        zerg.sleep(1e6)
      end)
    end
  end)

  it("cuts both ends and its clock when the task is cancelled", function()
    local client = engine.connect(function()
      zerg.sleep(1e6)
    end)
    local task = engine.run(function()
      return select(2, zerg.deadline(1, client.conn.forward, client.conn, "app",
        { filter = { up = same }, total_timeout = 50 }))
    end)
    engine.advance(1)
    assert.equal("timeout", task.results[1])
    assert.equal("abort", client.how)
    assert.equal("abort", server.how)
    assert.equal("KD", connects.records[1].ending)
    engine.advance(100)
    assert.equal(1, #connects.records)
  end)

  it("refuses misuse at the script's line", function()
    local client = engine.connect(function()
      zerg.sleep(1e6)
    end)
    for _, case in ipairs({
      { "expected an upstream's name or a target .*, got number", 5, { up = same } },
      { 'expected an upstream\'s name or a target .*, got "nowhere"', "nowhere", {} },
      { "filter: unknown direction 'both'", "app", { both = same } },
      { "filter.down: expected a function, got string", "app", { down = "x" } },
      { "a connection cannot be forwarded to itself", client.conn, {} },
    }) do
      raises(function()
        engine.call(function()
          client.conn:forward(case[2], { filter = case[3] })
        end)
      end, "conn_filter_spec.lua:%d+: conn:forward: " .. case[1])
    end
  end)
end)
