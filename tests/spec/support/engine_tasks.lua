-- Tasks, deadlines and the clock of the engine's model: what api.h says of them.

local ffi = require("ffi")

local M = { now = 100, api = {} }

local api = M.api
local raw_create, raw_resume = coroutine.create, coroutine.resume

-- Values of api.h's enums.
local OK, PARK, CANCELED, NO_TASK, RANGE = 0, 1, -4, -5, -8
local WAKE, WAKE_TIMEOUT, WAKE_CANCEL = 0, 1, 2
local SCOPE_DEPTH_MAX = 16

local by_address = {} -- tasks that have not ended
local next_address = 1
local ready = {}
local running

local function make_ready(task, code)
  task.waits, task.wakes_at, task.code = false, nil, code
  ready[#ready + 1] = task
end

---Starts a task; handle is a struct zerg_task or nil.
function M.spawn(handle, fn, ...)
  local task = {
    co = raw_create(fn),
    address = next_address,
    arguments = { n = select("#", ...), ... },
    scopes = {},
  }
  next_address = next_address + 1
  by_address[task.address] = task
  if handle then
    handle._task = ffi.cast("void *", task.address)
    handle._generation = 1
  end
  make_ready(task, WAKE)
  return task
end

local function take_outcome(task, ok, ...)
  if coroutine.status(task.co) == "suspended" then
    assert(... == require("zerg.park").PARK, "a task yielded something else than PARK")
    assert(task.waits, "a task yielded without a PARK from the engine")
    return
  end
  by_address[task.address] = nil
  task.ended = true
  if ok then
    task.results = { n = select("#", ...), ... }
  else
    task.failure, task.trace = ..., debug.traceback(task.co)
  end
end

local function resume(task)
  local arguments = task.arguments
  running = task
  if arguments then
    task.arguments = nil
    take_outcome(task, raw_resume(task.co, unpack(arguments, 1, arguments.n)))
  else
    take_outcome(task, raw_resume(task.co, task.code))
  end
  running = nil
end

---Resumes what is ready until nothing is.
function M.run_ready()
  while #ready > 0 do
    resume(table.remove(ready, 1))
  end
end

function M.running()
  return running
end

local function is_cancelled(task)
  if task.cancelled then
    return true
  end
  for _, scope in ipairs(task.scopes) do
    if scope.ends <= M.now then
      return true
    end
  end
  return false
end

---Records that the running task waits, for `what`, which leave() is told of when it ends.
function M.park(what, timeout_s, leave)
  if not running then
    return NO_TASK
  elseif is_cancelled(running) then
    return CANCELED
  end
  running.waits = what
  running.leave = leave
  running.wakes_at = timeout_s and timeout_s >= 0 and M.now + timeout_s or nil
  return PARK
end

---Ends a wait.
function M.wake(task, code)
  if not task.waits then
    return false
  end
  if task.leave then
    task.leave()
  end
  make_ready(task, code or WAKE)
  return true
end

-- When the task must be woken next, and with what code.
local function next_time(task)
  local at, code = task.wakes_at or math.huge, WAKE_TIMEOUT
  for _, scope in ipairs(task.scopes) do
    if scope.ends < at then
      at, code = scope.ends, WAKE_CANCEL
    end
  end
  return at, code
end

local function next_due(latest)
  local due, code, at = nil, nil, latest
  for _, task in pairs(by_address) do
    local task_at, task_code = next_time(task)
    if task.waits and task_at <= at and (not due or task_at < at or task.address < due.address) then
      due, code, at = task, task_code, task_at
    end
  end
  return due, code, at
end

---Moves the clock on, running what becomes due on the way, in order of time.
function M.advance(seconds)
  local latest = M.now + seconds
  M.run_ready()
  while true do
    local task, code, at = next_due(latest)
    if not task then
      break
    end
    M.now = math.max(M.now, at)
    M.wake(task, code)
    M.run_ready()
  end
  M.now = latest
end

local function task_of(handle)
  return by_address[tonumber(ffi.cast("intptr_t", handle._task))]
end

function api.zerg_task_self(handle)
  if not running then
    return NO_TASK
  end
  handle._task = ffi.cast("void *", running.address)
  handle._generation = 1
  return OK
end

function api.zerg_task_park(timeout_s)
  return M.park("task", timeout_s)
end

function api.zerg_task_wake(handle)
  local task = task_of(handle)
  return task and task.waits == "task" and M.wake(task) and 1 or 0
end

function api.zerg_task_cancel(handle)
  local task = task_of(handle)
  if task then
    task.cancelled = true
    M.wake(task, WAKE_CANCEL)
  end
end

function api.zerg_scope_enter(seconds)
  if not running then
    return NO_TASK
  elseif #running.scopes == SCOPE_DEPTH_MAX then
    return RANGE
  end
  table.insert(running.scopes, { ends = M.now + seconds })
  return #running.scopes
end

function api.zerg_scope_leave(depth)
  local scope = running.scopes[depth]
  while #running.scopes >= depth do
    table.remove(running.scopes)
  end
  return scope and scope.ends <= M.now and 1 or 0
end

function api.zerg_scope_expired()
  if running.cancelled then
    return -1
  end
  for depth, scope in ipairs(running.scopes) do
    if scope.ends <= M.now then
      return depth
    end
  end
  return 0
end

return M
