-- The pipe adapter.

local engine = require("support.engine")
local raises = require("support.raises")
local zerg = require("zerg")

-- Runs fn(reader, conn) as a handler and gives the peer.
local function serve(fn, opts)
  return engine.connect(function(conn)
    fn(conn:reader(opts), conn)
  end)
end

local function finish(peer)
  assert(peer.task.ended, "the handler is parked")
  if peer.task.failure ~= nil then
    error(peer.task.failure, 0)
  end
end

describe("zerg.reader", function()
  it("gives all unconsumed bytes once there are more than were examined", function()
    local got = {}
    local peer = serve(function(reader)
      for index = 1, 3 do
        local seq = reader:read()
        got[index] = tostring(seq)
        reader:advance(1, #seq)
      end
    end)
    peer:send("ab")
    assert.same({ "ab" }, got)
    peer:send("c")
    assert.same({ "ab", "bc" }, got)
    peer:send("d")
    assert.same({ "ab", "bc", "cd" }, got)
    finish(peer)
  end)

  it("gives the rest at the end of the stream, then the reason", function()
    local got = {}
    local peer = serve(function(reader)
      reader:read()
      reader:advance(0, 1)
      got[1] = tostring(reader:read())
      reader:advance(0, 2)
      got[2] = { reader:read() }
      got[3] = tostring(reader:try_read())
      reader:advance(2)
      got[4] = { reader:try_read() }
    end)
    peer:send("ab"):finish()
    finish(peer)
    assert.same({ "ab", { nil, "closed" }, "ab", {} }, got)
  end)

  it("tries without parking, and only what was not examined", function()
    local peer = serve(function(reader)
      assert.is_nil(reader:try_read())
      zerg.sleep(1)
      assert.is_true(reader:try_read() == "ab")
      reader:advance(0, 2)
      assert.is_nil(reader:try_read())
      zerg.sleep(1)
      assert.is_true(reader:try_read() == "abc")
    end)
    peer:send("ab")
    engine.advance(1)
    peer:send("c")
    engine.advance(1)
    finish(peer)
  end)

  it("checks what advance is given", function()
    local peer = serve(function(reader)
      reader:read()
      for _, case in ipairs({
        { "consumed from 0 to 2 bytes, got 3", 3 },
        { "consumed from 0 to 2 bytes, got %-1", -1 },
        { "consumed from 0 to 2 bytes, got nil", nil },
        { "examined from consumed to 2, got 3", 1, 3 },
        { "examined from consumed to 2, got 0", 1, 0 },
      }) do
        raises(function()
          reader:advance(case[2], case[3])
        end, "reader_spec.lua:%d+: reader:advance: expected " .. case[1])
      end
      local seq = reader:try_read()
      reader:advance(1)
      raises(function()
        return #seq
      end, "view used after release")
      assert.has_error(function()
        reader:advance(1)
      end)
    end)
    peer:send("ab")
    finish(peer)
  end)

  it("is cancelled while parked, or at the next call", function()
    local got, reader_kept = {}, nil
    local peer = serve(function(reader)
      reader_kept = reader
      got[1] = { reader:read() }
      got[2] = { reader:read_line() }
      got[3] = { reader:u32() }
      got[4] = { reader:try_read() }
      got[5] = reader:read_line()
    end)
    for _ = 1, 3 do
      engine.run(reader_kept.cancel, reader_kept)
      if #got == 2 then
        peer:send("abc")
      end
    end
    assert.same({ nil, "canceled" }, got[1])
    assert.same({ nil, "canceled" }, got[2])
    assert.same({ nil, "canceled" }, got[3])
    peer:send("d\n")
    finish(peer)
    assert.equal("abcd", got[5])
  end)

  it("cannot be used after complete, and leaves bytes to the connection", function()
    local peer = serve(function(reader, conn)
      reader:read()
      reader:advance(1)
      reader:complete()
      for _, method in ipairs({ "read", "try_read", "advance", "read_line", "u8", "skip" }) do
        raises(function()
          reader[method](reader, 1)
        end, "reader_spec.lua:%d+: reader:" .. method .. ": used after complete")
      end
      assert.is_true(conn:read() == "b")
    end)
    peer:send("ab")
    finish(peer)
  end)

  for _, size in ipairs({ 1, 3, 100 }) do
    it("reads lines and delimiters in pieces of " .. size, function()
      local got = {}
      local peer = serve(function(reader)
        got[1] = reader:read_line()
        got[2] = reader:read_line()
        got[3] = reader:read_line()
        got[4] = reader:read_until("--\r\n")
        got[5] = tostring(reader:read_exactly(4))
        got[6] = reader:skip(3)
        got[7] = { reader:read_until("!") }
        got[8] = tostring(reader:try_read())
      end)
      peer:send("first\r\n\nth\rird\nbody -\r\n more--\r\n1234xyzrest", size)
      peer:finish()
      finish(peer)
      assert.same({
        "first", "", "th\rird", "body -\r\n more", "1234", true, { nil, "closed" }, "rest",
      }, got)
    end)

    it("reads numbers in pieces of " .. size, function()
      local got = {}
      local peer = serve(function(reader)
        for _, name in ipairs({
          "u8", "i8", "u16", "u16le", "i16", "i16le", "u32", "u32le", "i32", "i32le", "f32",
          "f32le", "f64", "f64le",
        }) do
          got[#got + 1] = reader[name](reader)
        end
        for _, name in ipairs({ "u64", "u64le", "i64", "i64le" }) do
          got[#got + 1] = tostring(reader[name](reader))
        end
        got[#got + 1] = select(2, reader:u8())
      end)
      local f32, f64 = "\63\192\0\0", "\192\4\0\0\0\0\0\0"
      peer:send("\255\255\1\2\1\2\255\254\254\255\255\254\253\252\252\253\254\255\255\255\255\254"
        .. "\254\255\255\255" .. f32 .. f32:reverse() .. f64 .. f64:reverse()
        .. "\255\255\255\255\255\255\255\254\254\255\255\255\255\255\255\255"
        .. "\255\255\255\255\255\255\255\254\254\255\255\255\255\255\255\255", size)
      peer:finish()
      finish(peer)
      assert.same({
        255, -1, 258, 513, -2, -2, 4294901244, 4294901244, -2, -2, 1.5, 1.5, -2.5, -2.5,
        "18446744073709551614ULL", "18446744073709551614ULL", "-2LL", "-2LL", "closed",
      }, got)
    end)
  end

  it("leaves what is too short for a number", function()
    local peer = serve(function(reader)
      assert.same({ nil, "closed" }, { reader:u32() })
      assert.equal(258, reader:u16())
      assert.equal(3, reader:u8())
    end)
    peer:send("\1\2\3"):finish()
    finish(peer)
  end)

  it("gives up on what is longer than max, consuming nothing", function()
    local peer = serve(function(reader)
      assert.same({ nil, "limit" }, { reader:read_until("--", 4) })
      assert.same({ nil, "limit" }, { reader:read_line(3) })
      assert.equal("abcde", reader:read_until("--", 5))
      assert.equal("ab", reader:read_line(2))
      assert.same({ nil, "limit" }, { reader:read_line() })
      assert.same({ nil, "limit" }, { reader:read_exactly(9e6) })
    end, { max = 10 })
    peer:send("abcde--ab\r\n" .. ("x"):rep(20))
    finish(peer)
  end)

  it("checks arguments and options", function()
    local peer = serve(function(reader, conn)
      assert.has_error(function()
        reader:read_until("")
      end, 'reader:read_until: expected a delimiter of at least one byte, got ""')
      assert.has_error(function()
        reader:read_exactly(-1)
      end, "reader:read_exactly: expected a count of bytes, got -1")
      assert.has_error(function()
        conn:reader({ max = 0 })
      end, "conn:reader: max: expected a count of bytes, got 0")
      raises(function()
        conn:reader({ mx = 1 })
      end, "reader_spec.lua:%d+: conn:reader: unknown option 'mx'")
      raises(function()
        reader:read_until("")
      end, 'reader_spec.lua:%d+: reader:read_until: expected a delimiter of at least one byte')
      assert.has_error(function()
        conn:reader(5)
      end, "conn:reader: expected a table of options, got 5")
      assert.equal(0, #reader:read_exactly(0))
      assert.equal("zerg.reader: " .. conn.id, tostring(reader))
    end)
    finish(peer)
  end)

  it("times out with the connection, and goes on afterwards", function()
    local peer = serve(function(reader, conn)
      conn:timeout({ read = 1 })
      assert.same({ nil, "timeout" }, { reader:read() })
      assert.same({ nil, "timeout" }, { reader:u8() })
      assert.same({ nil, "timeout" }, { reader:read_line() })
      assert.equal("ab", reader:read_line())
    end)
    engine.advance(3)
    peer:send("ab\n")
    finish(peer)
  end)
end)
