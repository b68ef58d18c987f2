-- zerg.connect, conn:keepalive and zerg.resolve.

local engine = require("support.engine")
local connects = require("support.engine_connects")
local conns = require("support.engine_conns")
local raises = require("support.raises")
local zerg = require("zerg")

local function in_task(fn, ...)
  return engine.call(fn, ...)
end

describe("zerg.connect", function()
  local peer

  before_each(function()
    connects.reset()
    peer = nil
    connects.targets["db:1"] = function()
      peer = conns.new_peer()
      return peer
    end
    connects.targets["down:1"] = function()
      return nil, "refused"
    end
    connects.targets["slow:1"] = { parks = connects.targets["db:1"] }
  end)

  it("gives a connection with all methods", function()
    local conn = in_task(zerg.connect, "db:1")
    assert.equal(peer.id, conn.id)
    in_task(conn.write, conn, "hello")
    assert.equal("hello", peer:received())
    peer:send("answer")
    assert.equal("answer", tostring(in_task(conn.read, conn)))
    conn.ctx.name = "mine"
    assert.equal("mine", conn.ctx.name)
  end)

  it("gives nil and a reason when there is none", function()
    assert.same({ nil, "refused" }, { in_task(zerg.connect, "down:1") })
  end)

  it("parks until it is connected, whatever wakes it before", function()
    local task = engine.run(zerg.connect, "slow:1")
    assert.is_nil(task.ended)
    connects.answer("slow:1", true)
    assert.is_nil(task.ended)
    connects.answer("slow:1")
    assert.equal(peer.id, task.results[1].id)
  end)

  it("drops what is under way when its task is cancelled", function()
    local task = engine.run(function()
      local _, reason = zerg.deadline(1, zerg.connect, "slow:1")
      return reason
    end)
    engine.advance(1)
    assert.equal("timeout", task.results[1])
    assert.equal(1, task.dropped)
  end)

  it("hands its options to C", function()
    in_task(zerg.connect, "db:1", { connect_timeout = 0.5, hash_key = "k\0y", fresh = true })
    assert.equal(0.5, connects.options.connect_s)
    assert.equal("k\0y", connects.options.hash_key)
    assert.equal(1, connects.options.no_reuse)
    in_task(zerg.connect, "db:1")
    assert.equal(-1, connects.options.connect_s)
    assert.is_nil(connects.options.hash_key)
    assert.equal(0, connects.options.no_reuse)
    in_task(zerg.connect, "db:1", { hash_key = "" })
    assert.equal("", connects.options.hash_key)
  end)

  it("refuses what is no target and no option, at the script's line", function()
    for _, case in ipairs({
      { "expected an upstream's name or a target such as .*, got number", 5 },
      { 'expected an upstream\'s name or a target such as .*, got "no port"', "no port" },
      { "expected a table of options, got string", "db:1", "x" },
      { "unknown option 'filter'", "db:1", { filter = {} } },
      { "connect_timeout: expected seconds %(0: no limit%), got nan", "db:1",
        { connect_timeout = 0 / 0 } },
      { "hash_key: expected a string, got 5", "db:1", { hash_key = 5 } },
      { "fresh: expected true or false, got 1", "db:1", { fresh = 1 } },
    }) do
      raises(function()
        in_task(function()
          zerg.connect(case[2], case[3])
        end)
      end, "connect_spec.lua:%d+: zerg.connect: " .. case[1])
    end
    raises(function()
      zerg.connect("db:1")
    end, "zerg.connect: cannot wait here, only a handler or a task can")
  end)

  it("closes a connection that was lost", function()
    collectgarbage()
    local before = connects.let_go
    in_task(zerg.connect, "db:1")
    collectgarbage()
    collectgarbage()
    assert.equal(before + 1, connects.let_go)
    assert.equal("close", peer.how)
  end)

  it("keeps one alive that has an on_close callback", function()
    local seen
    collectgarbage()
    local before = connects.let_go
    in_task(function()
      local conn = zerg.connect("db:1")
      conn:on_close(function(_, reason)
        seen = reason
      end)
    end)
    collectgarbage()
    collectgarbage()
    assert.equal(before, connects.let_go)
    peer:finish("reset")
    assert.equal("reset", seen)
  end)
end)

describe("conn:keepalive", function()
  local peer

  before_each(function()
    connects.reset()
    connects.targets["db:1"] = function()
      peer = conns.new_peer()
      return peer
    end
  end)

  it("gives the connection back, once", function()
    local conn = in_task(zerg.connect, "db:1")
    conn.ctx.name = "mine"
    assert.is_true(conn:keepalive(2.5))
    assert.same({ { id = peer.id, idle_s = 2.5 } }, connects.kept)
    assert.is_nil(conn.ctx.name)
    raises(function()
      conn:keepalive()
    end, "connect_spec.lua:%d+: conn:keepalive: used after close")
  end)

  it("forgets the on_close callbacks", function()
    local called = false
    local conn = in_task(zerg.connect, "db:1")
    conn:on_close(function()
      called = true
    end)
    assert.is_true(conn:keepalive())
    peer:finish("reset")
    assert.is_false(called)
  end)

  it("says why it cannot", function()
    local conn = in_task(zerg.connect, "db:1")
    peer:send("unread")
    assert.same({ nil, "busy: bytes were left unread or unsent" }, { conn:keepalive() })
    conn = in_task(zerg.connect, "db:1")
    peer:finish("reset")
    assert.same({ nil, "reset" }, { conn:keepalive() })
  end)

  it("refuses other connections and other times", function()
    local served = engine.connect(function(conn)
      conn:wait()
    end)
    raises(function()
      served.conn:keepalive()
    end, "connect_spec.lua:%d+: conn:keepalive: expected a connection of zerg.connect")
    raises(function()
      served.conn:keepalive(-1)
    end, "connect_spec.lua:%d+: conn:keepalive: expected seconds, got %-1")
  end)
end)

describe("zerg.resolve", function()
  before_each(connects.reset)

  local function resolve(host)
    local task = engine.run(zerg.resolve, host)
    engine.advance(1)
    return unpack(task.results, 1, task.results.n)
  end

  it("gives addresses in order", function()
    connects.hosts["one.test"] = { "10.0.0.1" }
    connects.hosts["two.test"] = { "10.0.0.2", "::1" }
    assert.same({ "10.0.0.1" }, resolve("one.test"))
    assert.same({ "10.0.0.2", "::1" }, resolve("two.test"))
  end)

  it("gives nil and a reason when there are none", function()
    assert.same({ nil, "dns: no such name" }, { resolve("none.test") })
  end)

  it("refuses what is no host name", function()
    raises(function()
      zerg.resolve(5)
    end, "connect_spec.lua:%d+: zerg.resolve: expected a host name, got 5")
    raises(function()
      in_task(function()
        zerg.resolve("a b")
      end)
    end, 'connect_spec.lua:%d+: zerg.resolve: expected a host name, got "a b"')
  end)
end)
