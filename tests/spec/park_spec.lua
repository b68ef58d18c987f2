-- Parking inside coroutines of the script.

local engine = require("support.engine")
local park = require("zerg.park")
local zerg = require("zerg")

describe("zerg.park", function()
  it("lets code inside coroutine.wrap park and go on", function()
    local seen = {}
    local task = engine.run(function()
      local values = park.wrap(function()
        for index = 1, 3 do
          zerg.sleep(1)
          coroutine.yield(index)
        end
      end)
      for value in values do
        seen[#seen + 1] = value
      end
    end)
    engine.advance(2.5)
    assert.same({ 1, 2 }, seen)
    engine.advance(1)
    assert.same({ 1, 2, 3 }, seen)
    assert.is_true(task.ended)
  end)

  it("passes parks through nested coroutines", function()
    local result
    engine.run(function()
      result = { park.resume(park.create(function(...)
        return park.wrap(function(...)
          zerg.sleep(1)
          return "inner", ...
        end)(...)
      end), 1, nil, 3) }
    end)
    engine.advance(1)
    assert.same({ true, "inner", 1, nil, 3 }, result)
  end)

  it("gives resume exactly what the coroutine gave", function()
    local co = park.create(function() end)
    assert.equal(1, select("#", park.resume(co)))
    assert.same({ false, "cannot resume dead coroutine" }, { park.resume(co) })
  end)

  it("refuses to resume the coroutine of a task", function()
    local co
    local task = engine.run(function()
      co = coroutine.running()
      zerg.sleep(1)
    end)
    local refusal = { false, "cannot resume the coroutine of a handler or task" }
    assert.same(refusal, { park.resume(co) })
    assert.same({ false }, { (pcall(park.resume, "x")) })
    engine.advance(1)
    assert.is_true(task.ended)
    assert.is_nil(task.failure)
    assert.same(refusal, { park.resume(co) })
  end)

  it("refuses to yield out of a deadline", function()
    local got
    local task = engine.run(function()
      local values = park.wrap(function()
        zerg.deadline(1, function()
          local inner = park.wrap(function()
            park.yield("inner")
          end)
          got = { inner() }
          zerg.deadline(1, function() end)
          got[2], got[3] = pcall(park.yield, "out")
        end)
        park.yield("after")
      end)
      local after = values()
      zerg.sleep(5)
      got[4] = after
    end)
    engine.advance(5)
    local refusal = "coroutine.yield: cannot yield out of zerg.deadline"
    assert.same({ "inner", false, refusal, "after" }, got)
    assert.is_true(task.ended)
    assert.is_nil(task.failure)
  end)

  it("refuses to resume a coroutine that is parked", function()
    local co
    engine.run(function()
      co = park.create(function()
        zerg.sleep(1)
        return "slept"
      end)
      park.resume(co)
    end)
    assert.same({ false, "cannot resume parked coroutine" }, { park.resume(co) })
    engine.advance(1)
    assert.equal("dead", coroutine.status(co))
  end)

  it("raises cancellation in the innermost coroutine first", function()
    local order = {}
    local task
    engine.run(function()
      task = zerg.spawn(function()
        local ok, err = pcall(park.wrap(function()
          local inner_ok = pcall(zerg.sleep, 5)
          order[#order + 1] = inner_ok
          zerg.sleep(5)
        end))
        order[#order + 1] = ok
        order[#order + 1] = tostring(err)
      end)
    end)
    engine.run(function()
      task:cancel()
    end)
    assert.same({ false, false, "canceled" }, order)
  end)

  it("adds the caller's position to a string error of wrap, as Lua does", function()
    local ok, err = pcall(function()
      park.wrap(function()
        error("boom", 0)
      end)()
    end)
    assert.is_false(ok)
    assert.matches("park_spec.lua:%d+: boom$", err)
    local raised = {}
    ok, err = pcall(park.wrap(function()
      error(raised)
    end))
    assert.is_false(ok)
    assert.equal(raised, err)
  end)

  it("installs and uninstalls its functions", function()
    local library = {}
    park.install(library)
    for _, name in ipairs({ "create", "resume", "wrap", "yield" }) do
      assert.equal(park[name], library[name])
    end
    park.uninstall(library)
    assert.equal(coroutine.resume, library.resume)
  end)
end)
