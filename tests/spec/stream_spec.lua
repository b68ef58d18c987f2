-- The file-like adapter.

local engine = require("support.engine")
local raises = require("support.raises")

local function serve(fn, opts)
  return engine.connect(function(conn)
    fn(conn:stream(opts), conn)
  end)
end

local function finish(peer)
  assert(peer.task.ended, "the handler is parked")
  if peer.task.failure ~= nil then
    error(peer.task.failure, 0)
  end
end

describe("zerg.stream", function()
  for _, size in ipairs({ 1, 4, 100 }) do
    it("reads lines, counts and all the rest in pieces of " .. size, function()
      local got = {}
      local peer = serve(function(stream)
        got[1] = stream:read()
        got[2] = stream:read("*l")
        got[3] = stream:read("L")
        got[4] = { stream:read(3, "*L", "l") }
        got[5] = stream:read(0)
        got[6] = stream:read("*a")
        got[7] = stream:read("*a")
        got[8] = { stream:read("*l") }
        got[9] = { stream:read(1) }
        got[10] = { stream:read(0) }
      end)
      peer:send("one\ntwo\r\nthree\r\nabcdef\n\nall of\nthe rest", size):finish()
      finish(peer)
      assert.same({
        "one", "two", "three\r\n", { "abc", "def\n", "" }, "", "all of\nthe rest", "",
        { nil, "closed" }, { nil, "closed" }, { nil, "closed" },
      }, got)
    end)
  end

  it("gives the last line without its end, and fewer bytes at the end", function()
    local got = {}
    local peer = serve(function(stream)
      for line in stream:lines() do
        got[#got + 1] = line
      end
    end)
    peer:send("a\nb"):finish()
    finish(peer)
    assert.same({ "a", "b" }, got)
    peer = serve(function(stream)
      assert.same({ "abc", nil, "closed" }, { stream:read(10, 1, "*a") })
    end)
    peer:send("abc", 1):finish()
    finish(peer)
  end)

  it("keeps a partial answer for the next read after a time-out", function()
    local peer = serve(function(stream, conn)
      conn:timeout({ read = 1 })
      assert.same({ nil, "timeout" }, { stream:read("*l") })
      assert.equal("a", stream:read(1))
      assert.same({ nil, "timeout" }, { stream:read(10) })
      assert.equal("bc", stream:read())
      assert.equal("de", stream:read())
      assert.same({ nil, "reset" }, { stream:read("*a") })
    end)
    peer:send("abc")
    engine.advance(1)
    peer:send("\nd")
    engine.advance(1)
    peer:send("e\nfgh")
    peer:finish("reset")
    finish(peer)
  end)

  it("gives up on a line longer than max", function()
    local peer = serve(function(stream)
      assert.same({ nil, "limit" }, { stream:read("*l") })
      assert.equal("12345678", stream:read(8))
      assert.equal("1234", stream:read())
    end, { max = 4 })
    peer:send("123456781234\n")
    finish(peer)
  end)

  it("writes like a file", function()
    local peer = serve(function(stream)
      assert.equal(stream, stream:write("a", 1, "b"))
      assert.is_true(stream:flush())
      stream:close()
    end)
    finish(peer)
    assert.equal("a1b", peer:received())
    assert.equal("close", peer.how)
  end)

  it("names itself when it is misused", function()
    local peer = serve(function(stream, conn)
      raises(function()
        stream:write("a", {})
      end, "stream_spec.lua:%d+: stream:write: value 2: expected strings.*, got table")
      raises(function()
        conn:stream({ mx = 1 })
      end, "stream_spec.lua:%d+: conn:stream: unknown option 'mx'")
      conn:close()
      raises(function()
        stream:write("a")
      end, "stream_spec.lua:%d+: stream:write: used after close")
      raises(function()
        stream:flush()
      end, "stream_spec.lua:%d+: stream:flush: used after close")
    end)
    finish(peer)
    assert.equal("", peer:received())
  end)

  it("refuses formats it does not know", function()
    local peer = serve(function(stream, conn)
      local wrong = { { "*n", "'%*n'" }, { "x", "'x'" }, { {}, "table" }, { -1, "%-1" } }
      for _, case in ipairs(wrong) do
        for _, use in ipairs({
          function() stream:read(case[1]) end,
          function() stream:read(case[1], 1) end,
        }) do
          raises(use, 'stream_spec.lua:%d+: stream:read: expected "%*l", "%*L", '
            .. '"%*a" or a count of bytes, got ' .. case[2])
        end
      end
      conn:close()
      for _, format in ipairs({ "l", "L", "a", 5 }) do
        raises(function()
          stream:read(format)
        end, "stream_spec.lua:%d+: stream:read: used after close")
      end
    end)
    finish(peer)
  end)
end)
