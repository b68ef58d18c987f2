-- Sequences: the same answers as a string gives, wherever the borders of the views are.

local engine = require("support.engine")

-- Gives fn the seq of `text`, received in pieces of `size` bytes.
local function with_seq(text, size, fn)
  local peer = engine.connect(function(conn)
    fn(conn:peek(#text), conn)
  end)
  peer:send(text, size)
  assert(peer.task.ended, "the handler is parked")
  if peer.task.failure ~= nil then
    error(peer.task.failure, 0)
  end
end

local TEXT = "the quick fox"

describe("zerg.seq", function()
  for _, size in ipairs({ 1, 2, 5, #TEXT }) do
    it("is like a string in pieces of " .. size, function()
      with_seq(TEXT, size, function(seq)
        assert.equal(#TEXT, #seq)
        assert.equal(#TEXT, seq.len)
        assert.equal(TEXT, tostring(seq))
        assert.is_true(seq == TEXT)
        for i = -15, 15 do
          assert.equal(TEXT:byte(i), (seq:byte(i)))
          for j = -15, 15 do
            assert.equal(TEXT:sub(i, j), seq:sub(i, j))
            assert.equal(TEXT:sub(i, j), tostring(seq:slice(i, j)))
          end
        end
        for _, needle in ipairs({ "t", "quick", "x", "k f", "nothing", TEXT, "" }) do
          for init = -15, #TEXT + 2 do
            assert.same({ TEXT:find(needle, init, true) }, { seq:find(needle, init) })
          end
        end
      end)
    end)

    it("iterates over views in pieces of " .. size, function()
      with_seq(TEXT, size, function(seq)
        local parts = {}
        for view in seq:slice(2, -2):views() do
          assert.is_true(#view <= size)
          parts[#parts + 1] = tostring(view)
        end
        assert.equal(TEXT:sub(2, -2), table.concat(parts))
      end)
    end)
  end

  it("can be walked with pairs and ipairs", function()
    with_seq("aabbc", 2, function(seq)
      for _, walk in ipairs({ pairs, ipairs }) do
        local parts = {}
        for index, view in walk(seq) do
          parts[index] = tostring(view)
        end
        assert.same({ "aa", "bb", "c" }, parts)
      end
      for _ in pairs(seq:slice(2, 1)) do
        error("an empty sequence has no piece")
      end
      seq:release()
      assert.has_error(function()
        return pairs(seq)
      end, "view used after release")
    end)
  end)

  it("finds a piece in the middle that was released on its own", function()
    with_seq("aabbcc", 2, function(seq)
      for view in seq:views() do
        if view == "bb" then
          view:release()
          break
        end
      end
      assert.has_error(function()
        return seq:sub(1)
      end, "view used after release")
      assert.has_error(function()
        return seq:byte(3)
      end)
    end)
  end)

  it("can be released piece by piece while it is walked", function()
    with_seq("aabbcc", 2, function(seq)
      local parts = {}
      local ok, err = pcall(function()
        for view in seq:views() do
          parts[#parts + 1] = tostring(view)
        end
      end)
      assert.is_true(ok, err)
      assert.same({ "aa", "bb", "cc" }, parts)
    end)
  end)

  it("lives on when retained, until its own release", function()
    local kept, slice
    local peer = engine.connect(function(conn)
      local seq = conn:read()
      slice = seq:slice(2, 3):retain()
      kept = seq:retain()
      conn:read()
    end)
    peer:send("abcd", 1)
    peer:send("e")
    assert.equal("abcd", tostring(kept))
    assert.equal("bc", tostring(slice))
    kept:release()
    assert.equal("bc", tostring(slice))
    assert.has_error(function()
      return #kept
    end, "view used after release")
  end)

  it("ends its slices with itself", function()
    with_seq("abcd", 2, function(seq)
      local slice = seq:slice(3)
      seq:release()
      assert.has_error(function()
        return tostring(slice)
      end, "view used after release")
    end)
  end)

  it("is valid when empty", function()
    with_seq("abcd", 2, function(seq)
      local empty = seq:slice(3, 2)
      assert.equal(0, #empty)
      assert.equal("", tostring(empty))
      assert.is_nil(empty:byte(1))
      assert.is_nil(empty:find("a"))
      assert.is_nil(empty:views()({ seq = empty, from = 0 }))
      empty:release()
    end)
  end)

  it("knows its fields and says so", function()
    with_seq("x", 1, function(seq)
      assert.has_error(function()
        return seq.length
      end, "seq has no field 'length'")
      assert.has_error(function()
        seq.len = 1
      end)
      assert.has_error(function()
        seq:slice("a")
      end, "seq:slice: expected a position, got string")
    end)
  end)
end)
