-- Tasks: coroutines of the script's own beside the handlers, deadlines around calls, and sleeping.
-- C resumes tasks and knows when a deadline has passed; which call a cancellation unwinds to, and
-- what became of a task, is decided here.

local bytes = require("zerg.bytes")
local log = require("zerg.log")
local native = require("zerg.native")
local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C
local CANCELED = park_module.CANCELED
local park, wait = park_module.park, park_module.wait
local misuse = bytes.misuse
local task_t = zffi.task_t
local PARK, TIMEOUT = C.ZERG_PARK, C.ZERG_WAKE_TIMEOUT
local WAKE_CANCEL, NO_MEMORY = C.ZERG_WAKE_CANCEL, C.ZERG_NO_MEMORY

-- The last error that deadline() or a task caught, with the traceback of where it was raised.
local caught = { err = nil, trace = nil }

---Message handler of xpcall: keeps the traceback for traceback_of().
---@param err any
---@return any err
function M.keep_traceback(err)
  if not rawequal(err, CANCELED) then
    caught.err = err
    caught.trace = debug.traceback(tostring(err), 2)
  end
  return err
end

local keep_traceback = M.keep_traceback

---The traceback of an error that passed through zerg.deadline on its way, which the stack it
---arrives with no longer shows; nil for others.
---@param err any
---@return string|nil
function M.traceback_of(err)
  return rawequal(caught.err, err) and caught.trace or nil
end

---Raises an error that keep_traceback saw, with the traceback it had then: others may have been
---seen meanwhile.
---@param err any
---@param trace string|nil
function M.raise_again(err, trace)
  caught.err, caught.trace = err, trace
  error(err, 0)
end

-- Logs an error that keep_traceback saw, once; a cancellation is none.
local function log_error(what, err)
  local trace = M.traceback_of(err) or tostring(err)
  if rawequal(err, CANCELED) then
    trace = "the cancellation of another task or of a deadline that has ended was raised"
  end
  caught.err, caught.trace = nil, nil
  log.error("%s: %s", what, trace)
end

---Calls fn(...); an error is logged, not raised. Raises when the task was cancelled meanwhile.
---@param fn function
---@param ... any
function M.run_logged(fn, ...)
  local ok, err = xpcall(fn, keep_traceback, ...)
  if ok then
    return
  elseif rawequal(err, CANCELED) then
    error(CANCELED, 0)
  end
  log_error("error in a task", err)
end

---@class zerg.task
---@field package _handle ffi.cdata*
---@field package _done boolean
---@field package _canceled boolean cancel() was called
---@field package _results table|nil { n =, ... } of what join() gives
---@field package _joiners table list of handles of tasks parked in join()
local methods = {}

local metatable = { __name = "zerg.task", __index = methods }

function metatable.__tostring(self)
  return "zerg.task: " .. (self._done and "ended" or "running")
end

local function end_task(self, ...)
  self._results = { n = select("#", ...), ... }
  self._done = true
  for _, joiner in ipairs(self._joiners) do
    C.zerg_task_wake(joiner)
  end
  self._joiners = {}
end

local function take_results(self, ok, ...)
  if ok then
    return end_task(self, ...)
  end
  local err = ...
  if rawequal(err, CANCELED) and self._canceled then
    return end_task(self, nil, "canceled")
  end
  log_error("error in a task", err)
  return end_task(self, nil, "error: " .. tostring(err))
end

-- What runs in the task's coroutine.
local function run(self, fn, ...)
  if self._canceled then
    return end_task(self, nil, "canceled")
  end
  return take_results(self, xpcall(fn, keep_traceback, ...))
end

---Runs fn(...) in a task of its own, from the next turn of the reactor on. An error in it is
---logged.
---@param fn function
---@param ... any
---@return zerg.task
function M.spawn(fn, ...)
  if type(fn) ~= "function" then
    return misuse("zerg.spawn", "a function", fn)
  end
  local self = setmetatable({
    _handle = task_t(),
    _done = false,
    _canceled = false,
    _results = nil,
    _joiners = {},
  }, metatable)
  native.spawn(self._handle, run, self, fn, ...)
  return self
end

local function is_same_task(a, b)
  return a._task == b._task and a._generation == b._generation
end

-- The running task stays among the joiners of `self` only while it waits there.
local function await_end(self, handle)
  local joiners = self._joiners
  joiners[#joiners + 1] = handle
  while not self._done do
    if M.wait(-1) == WAKE_CANCEL then
      for index, joiner in ipairs(joiners) do
        if rawequal(joiner, handle) then
          table.remove(joiners, index)
          break
        end
      end
      error(CANCELED, 0)
    end
  end
end

---Parks until the task has ended.
---@return any ... what its function returned; nil, "canceled"; or nil, "error: ..."
function methods.join(self)
  if not self._done then
    local handle = task_t()
    local rc = C.zerg_task_self(handle)
    if rc ~= C.ZERG_OK then
      return outcome.fail(nil, "task:join", rc)
    elseif is_same_task(handle, self._handle) then
      error("task:join: a task cannot wait for itself", 2)
    end
    await_end(self, handle)
  end
  return unpack(self._results, 1, self._results.n)
end

---Makes the call the task is parked in, or the next that parks, raise, and every one after it. No
---effect on a task that has ended.
function methods.cancel(self)
  if not self._done then
    self._canceled = true
    C.zerg_task_cancel(self._handle)
  end
end

---Parks for s seconds.
---@param s number fractions allowed; 0: until the next turn of the reactor
function M.sleep(s)
  if not bytes.is_number(s, 0) then
    return misuse("zerg.sleep", "seconds", s)
  end
  local ends = C.zerg_now() + s
  local rc = C.zerg_task_park(s < math.huge and s or -1)
  while rc == PARK do
    if park() == TIMEOUT then
      return
    end
    -- Woken for something that this task no longer waits for.
    local left = ends - C.zerg_now()
    rc = C.zerg_task_park(left < math.huge and math.max(left, 0) or -1)
  end
  return outcome.fail(nil, "zerg.sleep", rc)
end

local function repeat_every(s, fn)
  local due = C.zerg_now() + s
  while true do
    M.sleep(math.max(due - C.zerg_now(), 0))
    M.run_logged(fn)
    -- A call that took longer than s skips the times it missed.
    local now = C.zerg_now()
    due = due + s * math.max(1, math.ceil((now - due) / s))
  end
end

---Calls fn() every s seconds, the first time after s, in a task of its own, until it is cancelled.
---Calls do not overlap. An error in one is logged and the next comes all the same.
---@param s number
---@param fn function
---@return zerg.task
function M.every(s, fn)
  if not bytes.is_number(s, 1e-3) then
    return misuse("zerg.every", "at least 0.001 seconds", s)
  elseif type(fn) ~= "function" then
    return misuse("zerg.every", "a function", fn)
  end
  return M.spawn(repeat_every, s, fn)
end

-- A cancellation goes on outward when the task itself or a deadline further out is its cause. What
-- comes here without any cause (a script raised the token again later) goes on as well.
local function leave_deadline(co, depth, ok, ...)
  park_module.leave_scope(co)
  local expired_depth = C.zerg_scope_expired()
  C.zerg_scope_leave(depth)
  if ok then
    return ...
  end
  local err = ...
  if rawequal(err, CANCELED) and expired_depth == depth then
    return nil, "timeout"
  end
  error(err, 0)
end

---Calls fn(...) in this coroutine. When s seconds have passed, the call it is parked in raises and
---all that follow, so that fn unwinds.
---@param s number
---@param fn function
---@param ... any
---@return any ... what fn returned, or nil, "timeout"
function M.deadline(s, fn, ...)
  if not bytes.is_number(s, 0) then
    return misuse("zerg.deadline", "seconds", s)
  elseif type(fn) ~= "function" then
    return misuse("zerg.deadline", "a function", fn)
  end
  local depth = C.zerg_scope_enter(s)
  if depth == C.ZERG_RANGE then
    error("zerg.deadline: nested too deep (16)", 2)
  elseif depth == NO_MEMORY or depth < 0 then
    return outcome.fail(nil, "zerg.deadline", depth)
  end
  local co = park_module.enter_scope()
  return leave_deadline(co, depth, xpcall(fn, keep_traceback, ...))
end

---Parks the running task until zerg_task_wake() or, with timeout_s >= 0, until that time passed.
---Gives every wake code, ZERG_WAKE_CANCEL too, so that a caller can undo first and then raise
---CANCELED. For zerg.queue, which knows that a task is running.
---@param timeout_s number
---@return integer code enum zerg_wake
function M.wait(timeout_s)
  if C.zerg_task_park(timeout_s) ~= PARK then
    return WAKE_CANCEL
  end
  return wait()
end

return M
