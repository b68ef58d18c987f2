-- Connections: fields, ctx, on_close, reading and writing.

local engine = require("support.engine")
local raises = require("support.raises")
local ffi = require("ffi")
local zerg = require("zerg")

-- A connection whose handler is parked, and its handle.
local function idle_conn()
  local peer = engine.connect(function(conn)
    conn:wait()
  end)
  return peer, peer.conn
end

describe("zerg.conn", function()
  it("has the documented fields", function()
    local peer, conn = idle_conn()
    assert.equal(peer.id, conn.id)
    assert.equal("192.0.2.7", conn.remote_addr)
    assert.equal(40000, conn.remote_port)
    assert.equal("127.0.0.1", conn.local_addr)
    assert.equal(7000, conn.local_port)
    assert.equal("echo", conn.listener)
    assert.equal(2, conn.reactor)
    assert.is_nil(conn.reason)
    assert.equal(0, conn.bytes_in)
    assert.equal(22, conn.bytes_out)
    assert.equal(3, conn.held)
    assert.equal("zerg.conn: " .. peer.id, tostring(conn))
    peer:finish("reset")
    assert.equal("reset", conn.reason)
  end)

  it("refuses fields it does not have", function()
    local _, conn = idle_conn()
    assert.has_error(function()
      return conn.user
    end, "conn has no field 'user' (keep your own data in conn.ctx)")
    assert.has_error(function()
      conn.user = "x"
    end, "conn.user cannot be set (keep your own data in conn.ctx)")
    assert.has_error(function()
      conn.ctx = 5
    end, "conn.ctx: expected a table, got number")
    assert.has_error(function()
      return conn.colour
    end)
    assert.is_false(conn == nil)
    assert.is_false(conn == "x")
  end)

  it("keeps ctx as long as the connection is served", function()
    local peer, conn = idle_conn()
    conn.ctx.name = "ann"
    assert.equal("ann", conn.ctx.name)
    conn.ctx = { name = "bob" }
    assert.equal("bob", conn.ctx.name)
    peer:finish()
    assert.is_nil(conn.ctx.name)
    conn.ctx.name = "late"
    assert.is_nil(conn.ctx.name)
  end)

  it("never shows the ctx of another connection in the same slot", function()
    local peer, old = idle_conn()
    old.ctx.name = "old"
    peer:finish()
    local new_peer = engine.connect(function(conn)
      conn.ctx.name = "new"
      conn:wait()
    end, peer.slot)
    assert.is_nil(old.ctx.name)
    assert.equal("new", new_peer.conn.ctx.name)
  end)

  it("drops the ctx of a handler that raised when its slot is used again", function()
    local peer = engine.connect(function(conn)
      conn.ctx.name = "old"
      error("boom")
    end)
    assert.equal("old", peer.conn.ctx.name)
    engine.connect(function() end, peer.slot)
    assert.is_nil(peer.conn.ctx.name)
  end)

  it("calls on_close once each, in order, with ctx still there", function()
    local seen = {}
    local peer, conn = idle_conn()
    conn.ctx.name = "ann"
    for index = 1, 2 do
      conn:on_close(function(closed, reason)
        seen[#seen + 1] = { index, closed == conn, reason, closed.ctx.name }
      end)
    end
    peer:finish("reset")
    assert.same({ { 1, true, "reset", "ann" }, { 2, true, "reset", "ann" } }, seen)
    assert.is_nil(conn.ctx.name)
    conn:on_close(function(_, reason)
      seen = reason
    end)
    engine.turn()
    assert.equal("reset", seen)
  end)

  it("calls on_close in the very task that C started", function()
    local seen
    local peer, conn = idle_conn()
    conn:on_close(function()
      seen = require("support.engine_tasks").running()
    end)
    local spawned = spy.on(package.loaded["zerg.native"], "spawn")
    peer:finish()
    package.loaded["zerg.native"].spawn:revert()
    assert.is_table(seen)
    assert.spy(spawned).was_not_called()
  end)

  it("calls on_close also when the handler is parked elsewhere", function()
    local seen
    local peer = engine.connect(function(conn)
      conn:on_close(function(_, reason)
        seen = reason
      end)
      zerg.sleep(10)
    end)
    peer:finish()
    assert.equal("closed", seen)
    assert.is_nil(peer.task.ended)
    engine.advance(10)
    assert.is_true(peer.task.ended)
  end)

  it("goes on with other callbacks when one raises, and logs that", function()
    local seen
    local peer, conn = idle_conn()
    conn:on_close(function()
      error("boom")
    end)
    conn:on_close(function()
      seen = true
    end)
    engine.forget_log()
    peer:finish()
    assert.is_true(seen)
    local log = engine.forget_log()
    assert.equal(1, #log)
    assert.matches("conn_spec.lua:%d+: boom", log[1])
  end)

  it("checks time-outs", function()
    local _, conn = idle_conn()
    assert.is_true(conn:timeout({ read = 0.5, idle = 0 }))
    assert.has_error(function()
      conn:timeout({ read = -1 })
    end, "conn:timeout: read: expected seconds (0: none), got -1")
    assert.has_error(function()
      conn:timeout({ reed = 1 })
    end, "conn:timeout: unknown time-out 'reed'")
    assert.has_error(function()
      conn:timeout(5)
    end, "conn:timeout: expected a table with read, write or idle, got 5")
  end)

  it("sets no time-out of a connection that is gone", function()
    local peer, old = idle_conn()
    peer:finish()
    engine.connect(function(conn)
      conn:wait()
    end, peer.slot)
    assert.same({ nil, "closed" }, { old:timeout({ read = 1 }) })
  end)
end)

describe("reading", function()
  it("reads what came, and ends with the reason", function()
    local got = {}
    local peer = engine.connect(function(conn)
      for data in conn:reads() do
        got[#got + 1] = tostring(data)
      end
      got[#got + 1] = conn.reason
      got[#got + 1] = { conn:read() }
    end)
    peer:send("one"):send("two", 1):finish()
    assert.same({ "one", "two", "closed", { nil, "closed" } }, got)
  end)

  it("times out and can be read again", function()
    local got = {}
    local peer = engine.connect(function(conn)
      conn:timeout({ read = 2 })
      got[1] = { conn:read() }
      got[2] = { conn:wait() }
      got[3] = { conn:peek(3) }
      conn:timeout({ read = 0 })
      got[4] = tostring(conn:read())
    end)
    engine.advance(6.5)
    assert.same({ nil, "timeout" }, got[1])
    assert.same({ nil, "timeout" }, got[2])
    assert.same({ nil, "timeout" }, got[3])
    engine.advance(100)
    peer:send("x")
    assert.equal("x", got[4])
  end)

  it("has the reason of a time-out until more comes", function()
    local got = {}
    local peer = engine.connect(function(conn)
      conn:timeout({ read = 2 })
      for _ = 1, 2 do
        for data in conn:reads() do
          got[#got + 1] = tostring(data)
          got[#got + 1] = tostring(conn.reason)
        end
        got[#got + 1] = conn.reason
      end
      conn:wait()
      got[#got + 1] = conn.reason
    end)
    engine.advance(2.5)
    assert.equal("timeout", peer.conn.reason)
    peer:send("x")
    assert.is_nil(peer.conn.reason)
    engine.advance(4.5)
    peer:finish("reset")
    assert.same({ "timeout", "x", "nil", "timeout", "timeout" }, got)
    assert.equal("reset", peer.conn.reason)
  end)

  it("gives pieces as views", function()
    local got = {}
    local peer = engine.connect(function(conn)
      assert.is_true(conn:wait())
      for view in conn:views() do
        got[#got + 1] = tostring(view)
        view:release()
      end
      assert.is_nil(conn:next_view())
    end)
    peer.pieces = {}
    peer:send("abcdef", 6)
    assert.same({ "abcdef" }, got)
  end)

  it("peeks without consuming, until enough is there", function()
    local got = {}
    local peer = engine.connect(function(conn)
      got[1] = tostring(conn:peek(4))
      got[2] = tostring(conn:read())
      got[3] = { conn:peek(9e6) }
      got[4] = { conn:peek(4) }
    end)
    peer:send("ab"):send("cde", 1)
    assert.equal("abcde", got[1])
    assert.equal("abcde", got[2])
    assert.same({ nil, "limit" }, got[3])
    peer:finish()
    assert.same({ nil, "closed" }, got[4])
  end)

  it("refuses a second reader", function()
    local peer, conn = idle_conn()
    local _, err = pcall(engine.call, function()
      local data = conn:read()
      return data
    end)
    assert.matches("conn_spec.lua:%d+: conn:read: another coroutine is reading", err)
    peer:send("x")
  end)

  it("raises after close, and where nothing can wait", function()
    local _, conn = idle_conn()
    conn:close()
    conn:close()
    raises(function()
      return (conn:read())
    end, "conn_spec.lua:%d+: conn:read: used after close")
    local idle = engine.connect(function()
      zerg.sleep(1)
    end)
    raises(function()
      return (idle.conn:wait())
    end, "conn:wait: cannot wait here, only a handler or a task can")
    assert.has_error(function()
      conn:peek(0)
    end, "conn:peek: expected a count of bytes, got 0")
  end)

  it("gives nil and a reason for a connection whose slot is used by another", function()
    local peer, old = idle_conn()
    peer:finish()
    local new_peer = engine.connect(function(conn)
      conn:wait()
    end, peer.slot)
    assert.same({ nil, "closed" }, { old:write("x") })
    assert.same({ nil, "closed" }, { old:read() })
    assert.equal("closed", old.reason)
    assert.equal("", new_peer:received())
  end)
end)

describe("a close by another coroutine", function()
  for name, wait in pairs({
    read = function(conn) return conn:read() end,
    wait = function(conn) return conn:wait() end,
    peek = function(conn) return conn:peek() end,
    read_line = function(conn) return conn:reader():read_line() end,
    u8 = function(conn) return conn:reader():u8() end,
    reader = function(conn) return conn:reader():read() end,
    stream = function(conn) return conn:stream():read() end,
    send = function(conn) return conn:send(("x"):rep(2000)) end,
    write = function(conn) return conn:write(("x"):rep(2000)) end,
  }) do
    it("ends a parked " .. name .. " without an error", function()
      local got
      local peer = engine.connect(function(conn)
        zerg.sleep(1)
        got = { wait(conn) }
      end)
      peer:stall(true)
      engine.advance(1)
      engine.run(function()
        peer.conn:close()
      end)
      assert.is_nil(peer.task.failure)
      assert.same({ nil, "closed" }, got)
    end)
  end
end)

describe("writing", function()
  it("takes every kind of value, and chains", function()
    local peer, conn = idle_conn()
    assert.equal(conn, conn:write("a", 1, "b", 2.5):write("c"):write(7))
    assert.equal("a1b2.5c7", peer:received())
    local bytes = ffi.new("uint8_t[4]", 120, 121, 122, 10)
    conn:write(bytes, 2)
    conn:write("<", bytes, 3, ">", 5)
    conn:write("1", "2", "3", "4", "5", "6", "7", "8", "9", bytes, 1, "10")
    assert.equal("xy<xyz>5123456789x10", peer:received())
  end)

  it("writes received bytes back, also from several pieces", function()
    local peer = engine.connect(function(conn)
      conn:wait()
      conn:write(conn:next_view(), "|", conn:next_view())
      conn:write(conn:read())
    end)
    peer:send("abcdef", 2)
    assert.equal("ab", peer:received():sub(1, 2))
  end)

  it("refuses what it cannot write, naming it", function()
    local peer, conn = idle_conn()
    local expected = "expected strings, numbers, views, sequences or %(cdata, length%), got "
    for _, case in ipairs({
      { 1, "nil", function() conn:write() end },
      { 2, "nil", function() conn:write("a", nil, "b") end },
      { 2, "nil", function() conn:write("a", nil, nil, "b") end },
      { 1, "nil", function() conn:write(nil, "b") end },
      { 5, "nil", function() conn:write("1", "2", "3", "4", nil, nil, nil, "8") end },
      { 8, "nil", function() conn:write("1", "2", "3", "4", "5", "6", "7", nil, "9") end },
      { 2, "nil", function() conn:write("1", nil, nil, nil, nil, nil, nil, nil, "9") end },
      { 4, "nil", function() conn:write(ffi.new("uint8_t[4]"), 2, "x", nil, "y") end },
      { 1, "table", function() conn:write({}) end },
      { 2, "table", function() conn:write("a", {}) end },
      { 4, "boolean", function() conn:write("a", "b", "c", false) end },
      { 9, "boolean", function() conn:write("1", "2", "3", "4", "5", "6", "7", "8", true) end },
      { 1, "cdata", function() conn:write(ffi.new("uint8_t[4]")) end },
      { 1, "cdata", function() conn:write(5LL, 1) end },
      { 1, "cdata", function() conn:write(ffi.cast("void *", 0), 1) end },
      { 2, "cdata", function() conn:write("a", ffi.new("uint8_t[4]"), -1) end },
    }) do
      raises(case[3], ("conn_spec.lua:%%d+: conn:write: value %d: "):format(case[1])
        .. expected .. case[2])
      assert.equal("", peer:received())
    end
    raises(function()
      conn:send("a", nil, {})
    end, "conn_spec.lua:%d+: conn:send: value 2: " .. expected .. "nil")
    assert.equal("", peer:received())
    assert.equal(conn, conn:write("a", nil, nil))
    assert.equal("a", peer:received())
  end)

  it("refuses a view after its release", function()
    local peer = engine.connect(function(conn)
      local seq = conn:read()
      local view = seq:views()({ seq = seq, from = 0 })
      view:release()
      for _, value in ipairs({ view, seq }) do
        raises(function()
          conn:write(value)
        end, "conn_spec.lua:%d+: conn:write: view used after release")
        raises(function()
          conn:write("before", value)
        end, "conn_spec.lua:%d+: conn:write: view used after release")
      end
    end)
    peer:send("x")
    assert.equal("", peer:received())
    assert.is_nil(peer.task.failure)
    assert.is_true(peer.task.ended)
  end)

  it("parks when more than write_buffer_max is staged", function()
    local wrote
    local peer = engine.connect(function(conn)
      conn:wait()
      conn:write(("x"):rep(1000))
      wrote = nil
      wrote = { conn:write(("y"):rep(1000), "z"), conn }
    end)
    peer:stall(true)
    peer:send("go")
    assert.is_nil(wrote)
    peer:stall(false)
    assert.equal(wrote[2], wrote[1])
    assert.equal(2001, #peer:received())
  end)

  it("gives nil and the reason on a dead connection, and a time-out", function()
    local peer = engine.connect(function(conn)
      conn:timeout({ write = 1 })
      zerg.sleep(1)
      assert.same({ nil, "timeout" }, { conn:send(("x"):rep(2000)) })
      zerg.sleep(1)
      assert.same({ nil, "reset" }, { conn:write("y") })
      assert.same({ nil, "reset" }, { conn:send("y") })
      assert.same({ nil, "reset" }, { conn:flush() })
    end)
    peer:stall(true)
    engine.advance(2)
    peer:finish("reset")
    engine.advance(1)
    assert.is_nil(peer.task.failure)
    assert.is_true(peer.task.ended)
  end)

  it("reserves room and commits it", function()
    local peer, conn = idle_conn()
    local room = conn:reserve(4)
    ffi.copy(room, "abcd", 4)
    assert.equal(conn, conn:commit(3))
    assert.equal("abc", peer:received())
    assert.has_error(function()
      conn:reserve(70000)
    end, "conn:reserve: expected 1 to 65536 bytes, got 70000")
    assert.has_error(function()
      conn:reserve(1.5)
    end, "conn:reserve: expected 1 to 65536 bytes, got 1.5")
    assert.has_error(function()
      conn:commit(1)
    end, "conn:commit: expected at most what conn:reserve gave, got 1")
  end)

  it("half-closes, closes and aborts", function()
    local peer, conn = idle_conn()
    assert.is_true(conn:shutdown())
    assert.is_true(peer.half_closed)
    raises(function()
      conn:write("x")
    end, "conn:write: used after close")
    conn:abort()
    assert.equal("abort", peer.how)
    conn:close()
    assert.equal("abort", peer.how)
  end)
end)
