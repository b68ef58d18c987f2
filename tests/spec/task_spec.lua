-- Tasks, sleeping, and deadlines.

local engine = require("support.engine")
local raises = require("support.raises")
local park = require("zerg.park")
local task_module = require("zerg.task")
local zerg = require("zerg")

-- Results of a task of the engine's, with nils.
local function results(task)
  assert(task.ended, "parked")
  assert(task.failure == nil, task.failure)
  return { n = task.results.n, unpack(task.results, 1, task.results.n) }
end

describe("zerg.spawn", function()
  it("runs later, and gives its results to join, now and afterwards", function()
    local order = {}
    local task
    local joiner = engine.run(function()
      task = zerg.spawn(function(...)
        order[#order + 1] = "task"
        zerg.sleep(1)
        return ...
      end, 1, nil, 3)
      order[#order + 1] = "spawner"
      return task:join()
    end)
    engine.advance(1)
    assert.same({ "spawner", "task" }, order)
    assert.same({ n = 3, 1, nil, 3 }, results(joiner))
    assert.same({ n = 3, 1, nil, 3 }, results(engine.run(task.join, task)))
    assert.equal("zerg.task: ended", tostring(task))
  end)

  it("logs an error once and tells join", function()
    engine.forget_log()
    local joiner = engine.run(function()
      return zerg.spawn(function()
        error("boom")
      end):join()
    end)
    local got = results(joiner)
    assert.is_nil(got[1])
    assert.matches("^error: .*task_spec.lua:%d+: boom$", got[2])
    local log = engine.forget_log()
    assert.equal(1, #log)
    assert.matches("task_spec.lua:%d+: boom\nstack traceback:", log[1])
  end)

  it("cancels a parked task, at the call it is parked in and at every later one", function()
    local raised = {}
    local task
    engine.run(function()
      task = zerg.spawn(function()
        for index = 1, 2 do
          local ok, err = pcall(zerg.sleep, 10)
          raised[index] = not ok and err
        end
        zerg.sleep(10)
      end)
    end)
    engine.forget_log()
    engine.run(function()
      task:cancel()
    end)
    assert.same({ park.CANCELED, park.CANCELED }, raised)
    assert.same({ n = 2, nil, "canceled" }, results(engine.run(task.join, task)))
    assert.same({}, engine.forget_log())
    task:cancel()
  end)

  it("does not start a task that was cancelled before", function()
    local started
    local got = { engine.call(function()
      local task = zerg.spawn(function()
        started = true
      end)
      task:cancel()
      return task:join()
    end) }
    assert.is_nil(started)
    assert.same({ nil, "canceled" }, got)
  end)

  it("wakes every joiner, also after one was cancelled", function()
    local task
    local got = {}
    local first
    engine.run(function()
      task = zerg.spawn(zerg.sleep, 2)
      first = zerg.spawn(task.join, task)
      zerg.spawn(function()
        task:join()
        got[#got + 1] = zerg.now()
      end)
    end)
    local start = zerg.now()
    engine.run(function()
      first:cancel()
    end)
    engine.advance(3)
    assert.same({ start + 2 }, got)
  end)

  it("forgets a joiner that was cancelled or ran out of time", function()
    local task
    local joiner = engine.run(function()
      task = zerg.spawn(zerg.sleep, 5)
      for _ = 1, 3 do
        assert.same({ nil, "timeout" }, { zerg.deadline(1, task.join, task) })
      end
      assert.same({}, task._joiners)
      local other = zerg.spawn(task.join, task)
      zerg.sleep(0)
      other:cancel()
      zerg.sleep(0)
      assert.same({}, task._joiners)
      return task:join()
    end)
    engine.advance(5)
    assert.same({ n = 0 }, results(joiner))
  end)

  it("logs a cancellation that is none of its own", function()
    engine.forget_log()
    local got = { engine.call(function()
      return zerg.spawn(error, park.CANCELED, 0):join()
    end) }
    assert.same({ nil, "error: canceled" }, got)
    local log = engine.forget_log()
    assert.equal(1, #log)
    assert.matches("the cancellation of another task or of a deadline that has ended", log[1])
  end)

  it("refuses misuse", function()
    assert.has_error(function()
      zerg.spawn("x")
    end, "zerg.spawn: expected a function, got string")
    local _, err = pcall(function()
      zerg.spawn(function() end):join()
    end)
    assert.matches("task_spec.lua:%d+: task:join: cannot wait here", err)
    engine.forget_log()
    engine.run(function()
      local task
      task = zerg.spawn(function()
        task:join()
      end)
    end)
    assert.matches("task:join: a task cannot wait for itself", engine.forget_log()[1])
  end)
end)

describe("zerg.sleep", function()
  it("sleeps its time, whatever wakes it meanwhile", function()
    local woke
    local start = zerg.now()
    local task = engine.run(function()
      zerg.sleep(2)
      woke = zerg.now() - start
    end)
    engine.advance(1)
    require("support.engine_tasks").wake(task)
    engine.turn()
    assert.is_nil(woke)
    engine.advance(5)
    assert.equal(2, woke)
  end)

  it("refuses what is no time", function()
    for _, s in ipairs({ -1, 0 / 0, "1" }) do
      assert.has_error(function()
        zerg.sleep(s)
      end)
    end
  end)
end)

describe("zerg.every", function()
  it("calls at equal distances, goes on after an error, and is cancelled", function()
    local times = {}
    local start = zerg.now()
    local task
    engine.forget_log()
    engine.run(function()
      task = zerg.every(1, function()
        times[#times + 1] = zerg.now() - start
        if #times == 2 then
          zerg.sleep(1.5)
        elseif #times == 3 then
          error("boom")
        end
      end)
    end)
    engine.advance(5.5)
    assert.same({ 1, 2, 4, 5 }, times)
    assert.equal(1, #engine.forget_log())
    engine.run(task.cancel, task)
    engine.advance(5)
    assert.equal(4, #times)
  end)
end)

describe("zerg.deadline", function()
  it("gives what fn returns in time", function()
    local task = engine.run(function()
      return zerg.deadline(2, function(...)
        zerg.sleep(1)
        return nil, ...
      end, "a", nil)
    end)
    engine.advance(1)
    assert.same({ n = 3, nil, "a", nil }, results(task))
  end)

  it("unwinds what it is parked in", function()
    local cleaned
    local task = engine.run(function()
      return zerg.deadline(1, function()
        local ok, err = pcall(zerg.sleep, 5)
        cleaned = not ok
        error(err, 0)
      end)
    end)
    engine.advance(1)
    assert.is_true(cleaned)
    assert.same({ n = 2, nil, "timeout" }, results(task))
  end)

  it("raises again when a script swallows the cancellation", function()
    local swallowed = 0
    local task = engine.run(function()
      return zerg.deadline(1, function()
        while swallowed < 3 do
          local ok = pcall(zerg.sleep, 5)
          swallowed = swallowed + (ok and 0 or 1)
        end
        return "done"
      end)
    end)
    engine.advance(1)
    assert.same({ n = 1, "done" }, results(task))
    assert.equal(3, swallowed)
  end)

  it("unwinds to the deadline that passed, not to one inside it", function()
    local task = engine.run(function()
      local outer = { zerg.deadline(1, function()
        zerg.deadline(5, zerg.sleep, 10)
        error("not reached")
      end) }
      local inner = { zerg.deadline(5, function()
        local result = { zerg.deadline(1, zerg.sleep, 10) }
        zerg.sleep(1)
        return result
      end) }
      return outer, inner
    end)
    engine.advance(10)
    local got = results(task)
    assert.same({ nil, "timeout" }, got[1])
    assert.same({ { nil, "timeout" } }, got[2])
  end)

  it("leaves its own scope and those inside it, by depth", function()
    local leave = require("support.engine_tasks").api.zerg_scope_leave
    local task = engine.run(function()
      zerg.deadline(1, function()
        require("support.engine_tasks").api.zerg_scope_enter(2)
      end)
      zerg.sleep(5)
      assert.equal(0, leave(1))
    end)
    engine.advance(5)
    assert.same({ n = 0 }, results(task))
  end)

  it("lets a cancellation of the task pass", function()
    local task, after
    engine.run(function()
      task = zerg.spawn(function()
        zerg.deadline(1, zerg.sleep, 10)
        after = true
      end)
    end)
    engine.run(task.cancel, task)
    assert.is_nil(after)
    assert.same({ n = 2, nil, "canceled" }, results(engine.run(task.join, task)))
  end)

  it("passes errors on as they are, and remembers where they came from", function()
    local err
    engine.call(function()
      local _
      _, err = pcall(zerg.deadline, 1, function()
        error("boom")
      end)
    end)
    assert.matches("task_spec.lua:%d+: boom$", err)
    assert.matches("boom\nstack traceback:.*task_spec.lua", task_module.traceback_of(err))
    assert.is_nil(task_module.traceback_of("another"))
  end)

  it("refuses misuse", function()
    raises(function()
      zerg.deadline("1", print)
    end, "zerg.deadline: expected seconds, got string")
    raises(function()
      zerg.deadline(1)
    end, "zerg.deadline: expected a function, got nil")
    raises(function()
      return (zerg.deadline(1, print))
    end, "zerg.deadline: cannot wait here")
    local function nest(depth)
      return depth == 0 and "bottom" or zerg.deadline(1, nest, depth - 1)
    end
    assert.equal("bottom", engine.call(nest, 16))
    raises(function()
      engine.call(nest, 17)
    end, "nested too deep")
  end)
end)
