-- Views: one piece in place, and what happens after its release.

local engine = require("support.engine")
local ffi = require("ffi")

-- Gives fn the view of `text` inside of a handler.
local function with_view(text, fn)
  local peer = engine.connect(function(conn)
    conn:wait()
    fn(conn:next_view(), conn)
  end)
  peer:send(text)
  assert(peer.task.ended, "the handler is parked")
  if peer.task.failure ~= nil then
    error(peer.task.failure, 0)
  end
end

describe("zerg.view", function()
  it("can be walked with pairs and ipairs", function()
    with_view("hey", function(view)
      for _, walk in ipairs({ pairs, ipairs }) do
        local codes = {}
        for index, byte in walk(view) do
          codes[index] = byte
        end
        assert.same({ 104, 101, 121 }, codes)
      end
      local next_byte, state, index = pairs(view)
      view:release()
      assert.has_error(function()
        return next_byte(state, index)
      end, "view used after release")
    end)
  end)

  it("finds the empty string wherever a string does", function()
    with_view("hey", function(view)
      for init = -5, 6 do
        assert.same({ ("hey"):find("", init, true) }, { view:find("", init) })
        assert.same({ ("hey"):find("y", init, true) }, { view:find("y", init) })
      end
    end)
  end)

  it("shows its bytes in place", function()
    with_view("hello", function(view)
      assert.equal(5, #view)
      assert.equal(5, view.len)
      assert.equal("hello", ffi.string(view.ptr, view.len))
      assert.equal("hello", tostring(view))
    end)
  end)

  it("cuts like string.sub, whatever the positions", function()
    local text = "hello"
    with_view(text, function(view)
      for _, i in ipairs({ -9, -5, -2, 0, 1, 3, 5, 6, 99 }) do
        for _, j in ipairs({ -9, -5, -1, 0, 1, 3, 5, 6, 99 }) do
          assert.equal(text:sub(i, j), view:sub(i, j))
        end
        assert.equal(text:sub(i), view:sub(i))
      end
      assert.equal("hello", view:sub(0 / 0))
      assert.equal("hello", view:sub(-math.huge, math.huge))
    end)
  end)

  it("gives bytes like string.byte", function()
    with_view("hello", function(view)
      assert.equal(104, view:byte())
      assert.equal(111, view:byte(-1))
      assert.equal(101, view:byte(2))
      assert.is_nil(view:byte(6))
      assert.is_nil(view:byte(0 / 0))
      assert.same({ 101, 108 }, { view:byte(2, 3) })
    end)
  end)

  it("finds plain text", function()
    with_view("a.b.c", function(view)
      assert.same({ 2, 2 }, { view:find(".") })
      assert.same({ 4, 4 }, { view:find(".", 3) })
      assert.same({ 4, 5 }, { view:find(".c", -3) })
      assert.is_nil(view:find("x"))
      assert.is_nil(view:find(".", 5))
      assert.is_nil(view:find("a", 99))
      assert.same({ 2, 1 }, { view:find("", 2) })
    end)
  end)

  it("compares and concatenates like a string", function()
    with_view("ping", function(view)
      assert.is_true(view == "ping")
      assert.is_true("ping" == view)
      assert.is_false(view == "pong")
      assert.is_false(view == nil)
      assert.is_false(view == 5)
      assert.equal("<ping>1", "<" .. view .. ">" .. 1)
      assert.has_error(function()
        return view .. {}
      end, "attempt to concatenate a table value")
    end)
  end)

  it("raises after its release, naming the script's line", function()
    with_view("x", function(view)
      view:release()
      view:release()
      for _, use in ipairs({
        function() return #view end,
        function() return view.len end,
        function() return view.ptr end,
        function() return view:sub(1) end,
        function() return view:byte(1) end,
        function() return view:find("x") end,
        function() return tostring(view) end,
        function() return view == "x" end,
        function() return view:retain() end,
      }) do
        local ok, err = pcall(use)
        assert.is_false(ok)
        assert.matches("view used after release", err)
      end
      local _, err = pcall(function()
        local text = view:sub(1)
        return text
      end)
      assert.matches("view_spec.lua:%d+: view used after release", err)
    end)
  end)

  it("ends with the next read of its connection", function()
    local view, kept
    local peer = engine.connect(function(conn)
      conn:wait()
      view = conn:next_view()
      kept = conn:next_view():retain()
      conn:read()
    end)
    peer:send("abcd", 2)
    assert.has_error(function()
      return tostring(view)
    end, "view used after release")
    assert.equal("cd", tostring(kept))
    kept:release()
    assert.has_error(function()
      return #kept
    end)
  end)

  it("knows its fields and says so", function()
    with_view("x", function(view)
      assert.has_error(function()
        return view.length
      end, "view has no field 'length'")
      assert.has_error(function()
        view.x = 1
      end, "view.x cannot be set")
      assert.has_error(function()
        view:sub()
      end, "view:sub: expected a position, got nil")
      assert.has_error(function()
        view:find({})
      end, "view:find: expected a string, got table")
    end)
  end)
end)
