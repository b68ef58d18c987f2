-- conn:forward without filters, and conn:relay.

local engine = require("support.engine")
local connects = require("support.engine_connects")
local raises = require("support.raises")

local function idle()
  local peer = engine.connect(function(conn)
    conn:wait()
  end)
  return peer.conn, peer
end

-- A connection that nobody reads.
local function quiet()
  local peer = engine.connect(function()
    require("zerg").sleep(1e6)
  end)
  return peer.conn, peer
end

local HOW = {
  server = "10.0.0.1:80", bytes_up = 5, bytes_down = 7, duration = 1.5, reason = "closed",
}

describe("conn:forward", function()
  before_each(function()
    connects.reset()
    connects.targets["app"] = { parks = true }
  end)

  it("parks until the end and says how it went", function()
    local conn = quiet()
    local task = engine.run(conn.forward, conn, "app")
    assert.is_nil(task.ended)
    connects.end_forward("app", nil, HOW)
    assert.same(HOW, task.results[1])
  end)

  it("gives nil and a reason when no server was reached", function()
    local conn = quiet()
    local task = engine.run(conn.forward, conn, "app")
    connects.end_forward("app", "refused")
    assert.same({ nil, "refused" }, { unpack(task.results, 1, 2) })
  end)

  it("takes another connection", function()
    local conn, other = quiet(), quiet()
    local task = engine.run(conn.forward, conn, other)
    connects.end_forward("conn", nil, HOW)
    assert.equal("closed", task.results[1].reason)
  end)

  it("hands its options to C", function()
    local conn = quiet()
    engine.run(conn.forward, conn, "app", {
      connect_timeout = 1, idle_timeout = 2, total_timeout = 3, hash_key = "k", proxy_protocol = 2,
      proxy_tlvs = { [0xe1] = "b", [0xe0] = ("a"):rep(300) },
    })
    local options = connects.options
    assert.same({ 1, 2, 3, "k", 2 }, { options.connect_s, options.idle_s, options.total_s,
      options.hash_key, options.proxy_version })
    assert.equal("\224\1\44" .. ("a"):rep(300) .. "\225\0\1b", options.fields)
    engine.run(conn.forward, conn, "app")
    options = connects.options
    assert.same({ -1, -1, -1, -1, "" }, { options.connect_s, options.idle_s, options.total_s,
      options.proxy_version, options.fields })
  end)

  it("drops what is under way when its task is cancelled", function()
    local zerg = require("zerg")
    local conn = quiet()
    local task = engine.run(function()
      return select(2, zerg.deadline(1, conn.forward, conn, "app"))
    end)
    engine.advance(1)
    assert.equal("timeout", task.results[1])
    assert.equal(1, task.dropped)
  end)

  it("refuses misuse at the script's line", function()
    local conn = quiet()
    for _, case in ipairs({
      { "expected an upstream's name or a target such as .*, got nil", nil },
      { 'expected an upstream\'s name or a target such as .*, got "nowhere"', "nowhere" },
      { "a connection cannot be forwarded to itself", conn },
      { "proxy_protocol: only a server that is connected to gets a header", quiet(),
        { proxy_protocol = 1 } },
      { "proxy_tlvs: only", quiet(), { proxy_tlvs = {} } },
      { "unknown option 'fresh'", "app", { fresh = true } },
      { "proxy_tlvs: expected strings by type %(0 to 255%)", "app",
        { proxy_tlvs = { x = "" } } },
      { "filter.up: expected a function, got table", "app", { filter = { up = {} } } },
    }) do
      local pattern = case[1]:find("^proxy_tlvs: only") and "proxy_protocol: only" or case[1]
      raises(function()
        engine.call(function()
          conn:forward(case[2], case[3])
        end)
      end, "conn_forward_spec.lua:%d+: conn:forward: " .. pattern)
    end
  end)

  it("raises what C calls misuse", function()
    local conn = quiet()
    for name, message in pairs({
      CLOSED = "used after close", BUSY = "another coroutine is reading this connection",
      FORWARDED = "the connection is being forwarded",
      FED = "another coroutine relays to this connection",
    }) do
      for _, opts in ipairs({ {}, { filter = {} } }) do
        connects.check = connects.results[name]
        raises(function()
          engine.call(function()
            conn:forward("app", opts)
          end)
        end, "conn_forward_spec.lua:%d+: conn:forward: " .. message)
      end
    end
  end)
end)

describe("conn:relay", function()
  before_each(connects.reset)

  it("moves exactly n bytes and leaves the rest", function()
    local from, source = quiet()
    local to, sink = quiet()
    source:send("headbody|next", 3)
    assert.equal(9, engine.call(from.relay, from, to, 9))
    assert.equal("headbody|", sink:received())
    assert.equal("next", tostring(engine.call(from.read, from)))
    assert.equal(0, from:relay(to, 0))
  end)

  it("parks until they have come", function()
    local from, source = quiet()
    local to, sink = quiet()
    local task = engine.run(from.relay, from, to, 6)
    source:send("abc")
    assert.is_nil(task.ended)
    source:send("defg")
    assert.equal(6, task.results[1])
    assert.equal("abcdef", sink:received())
  end)

  it("says how many went when it ends early", function()
    local from, source = quiet()
    local to = quiet()
    local task = engine.run(from.relay, from, to, math.huge)
    source:send("abc")
    source:finish()
    assert.same({ nil, "closed", 3 }, { unpack(task.results, 1, 3) })
  end)

  it("names the side that broke", function()
    local from, source = quiet()
    local to, sink = quiet()
    sink:finish("reset")
    source:send("abc")
    source:finish()
    assert.same({ nil, "reset", 3 }, { engine.call(from.relay, from, to, 5) })
  end)

  it("gives what it has after a read time-out", function()
    local from, source = quiet()
    local to = quiet()
    from:timeout({ read = 1 })
    source:send("abc")
    local task = engine.run(from.relay, from, to, 5)
    engine.advance(1)
    assert.same({ nil, "timeout", 3 }, { unpack(task.results, 1, 3) })
    assert.equal(1, task.dropped)
  end)

  it("has n although the time-out came with the last bytes", function()
    local from, source = quiet()
    local to = quiet()
    local tasks = require("support.engine_tasks")
    local task = engine.run(from.relay, from, to, 3)
    task.pending.moved, task.relay_moved = 3, 3
    tasks.wake(task, 1)
    engine.turn()
    assert.equal(3, task.results[1])
    assert.is_table(source)
  end)

  it("raises what C calls misuse, at the script's line", function()
    local conn = idle()
    for name, message in pairs({ BUSY = "another coroutine is reading this connection",
      FED = "another coroutine relays to this connection", CLOSED = "used after close" }) do
      connects.check = connects.results[name]
      raises(function()
        engine.call(function()
          conn:relay(conn, 1)
        end)
      end, "conn_forward_spec.lua:%d+: conn:relay: " .. message)
    end
    for _, count in ipairs({ -1, 1.5, 0 / 0, 2 ^ 54, "5" }) do
      raises(function()
        conn:relay(conn, count)
      end, "conn_forward_spec.lua:%d+: conn:relay: expected a count of bytes, got ")
    end
    raises(function()
      conn:relay("x", 1)
    end, "conn_forward_spec.lua:%d+: conn:relay: expected a connection, got string")
  end)
end)
