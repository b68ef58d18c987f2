-- Queues: order, fairness, and that nothing is lost.

local engine = require("support.engine")
local raises = require("support.raises")
local park = require("zerg.park")
local zerg = require("zerg")

-- Tasks that each get one value and note it as "name=value".
local function getters(queue, seen, names, timeout)
  local tasks = {}
  engine.run(function()
    for _, name in ipairs(names) do
      tasks[name] = zerg.spawn(function()
        local value, reason = queue:get(timeout)
        seen[#seen + 1] = name .. "=" .. tostring(value or reason)
      end)
    end
  end)
  return tasks
end

describe("zerg.queue", function()
  it("gives values in the order they were put", function()
    local queue = zerg.queue()
    for index = 1, 100 do
      assert.is_true(queue:put(index))
    end
    for index = 1, 100 do
      assert.equal(index, queue:get())
    end
    assert.same({ nil, "timeout" }, { queue:get(0) })
    queue:put(false)
    assert.equal(false, queue:get())
  end)

  it("serves those who wait in the order they came, one each", function()
    local queue, seen = zerg.queue(), {}
    getters(queue, seen, { "a", "b", "c" })
    engine.run(function()
      queue:put(1)
      queue:put(2)
    end)
    assert.same({ "a=1", "b=2" }, seen)
    queue:put(3)
    engine.turn()
    assert.same({ "a=1", "b=2", "c=3" }, seen)
  end)

  it("keeps a value for who was woken, not for who comes first", function()
    local queue, seen = zerg.queue(), {}
    getters(queue, seen, { "a" })
    queue:put(1)
    assert.same({ nil, "timeout" }, { queue:get(0) })
    engine.turn()
    assert.same({ "a=1" }, seen)
  end)

  it("parks put while it is full, in order", function()
    local queue, order = zerg.queue(2), {}
    engine.run(function()
      for index = 1, 5 do
        zerg.spawn(function()
          queue:put(index)
          order[#order + 1] = index
        end)
      end
    end)
    assert.same({ 1, 2 }, order)
    assert.equal(1, queue:get())
    engine.turn()
    assert.same({ 1, 2, 3 }, order)
    for index = 2, 5 do
      assert.equal(index, queue:get())
    end
    engine.turn()
    assert.same({ 1, 2, 3, 4, 5 }, order)
    assert.same({ nil, "timeout" }, { queue:get(0) })
  end)

  it("times out, and gives later values to others", function()
    local queue, seen = zerg.queue(), {}
    getters(queue, seen, { "a" }, 1)
    engine.advance(1)
    assert.same({ "a=timeout" }, seen)
    getters(queue, seen, { "b" })
    queue:put("x")
    engine.turn()
    assert.same({ "a=timeout", "b=x" }, seen)
  end)

  it("gives a value to its taker, also when that is cancelled before it runs", function()
    local queue, seen = zerg.queue(), {}
    local tasks = getters(queue, seen, { "a", "b" })
    engine.run(function()
      queue:put("x")
      tasks.a:cancel()
    end)
    assert.same({ "a=x" }, seen)
    engine.run(function()
      tasks.b:cancel()
    end)
    queue:put("y")
    assert.equal("y", queue:get(0))
  end)

  it("takes a cancelled putter's value off again", function()
    local queue = zerg.queue(1)
    local task
    engine.run(function()
      queue:put(1)
      task = zerg.spawn(queue.put, queue, 2)
    end)
    engine.run(function()
      task:cancel()
    end)
    assert.equal(1, queue:get())
    assert.same({ nil, "timeout" }, { queue:get(0) })
    assert.is_true(queue:put(3))
    assert.equal(3, queue:get())
  end)

  it("loses nothing when a waiter is woken for something else", function()
    local queue, seen = zerg.queue(), {}
    local waiter = engine.run(function()
      seen[#seen + 1] = queue:get()
    end)
    require("support.engine_tasks").wake(waiter)
    queue:put("x")
    engine.turn()
    assert.same({ "x" }, seen)
    waiter = engine.run(function()
      seen[#seen + 1] = select(2, queue:get(2))
    end)
    engine.advance(1)
    require("support.engine_tasks").wake(waiter)
    engine.advance(1)
    assert.same({ "x", "timeout" }, seen)
  end)

  it("raises cancellation out of get and put", function()
    local queue = zerg.queue(1)
    local got
    local task
    engine.run(function()
      task = zerg.spawn(function()
        local _, err = pcall(queue.get, queue)
        got = err
      end)
    end)
    engine.run(task.cancel, task)
    assert.equal(park.CANCELED, got)
  end)

  it("refuses misuse", function()
    local queue = zerg.queue()
    assert.has_error(function()
      queue:put(nil)
    end, "queue:put: expected a value, got nil")
    assert.has_error(function()
      queue:get(-1)
    end, "queue:get: expected a time-out in seconds, got -1")
    assert.has_error(function()
      zerg.queue(0)
    end, "zerg.queue: expected a whole size of at least 1, got 0")
    assert.has_error(function()
      zerg.queue(1.5)
    end, "zerg.queue: expected a whole size of at least 1, got 1.5")
    raises(function()
      local value = queue:get()
      return value
    end, "queue_spec.lua:%d+: queue:get: cannot wait here")
  end)
end)
