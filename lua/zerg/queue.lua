-- zerg.queue: values between coroutines of one reactor. Whoever can be served is served in the
-- order it came, and exactly that one is woken: a value goes straight to the waiter it wakes.
-- A task that was woken runs on with that, whatever happens before it runs, so nothing is lost.

local bytes = require("zerg.bytes")
local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local task = require("zerg.task")
local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C
local CANCELED = park_module.CANCELED
local task_t = zffi.task_t
local OK = C.ZERG_OK
local WAKE_CANCEL, TIMEOUT = C.ZERG_WAKE_CANCEL, C.ZERG_WAKE_TIMEOUT

---@class zerg.queue
---@field package _size number
---@field package _values table
---@field package _first integer index of the oldest value
---@field package _last integer index of the newest one
---@field package _getters table list of waiters, empty unless there are no values
---@field package _putters table list of waiters, empty unless the queue is full
local methods = {}

local metatable = { __name = "zerg.queue", __index = methods }

-- A list of waiters is a ring with itself as the head.
local function new_list()
  local list = {}
  list.prev, list.next = list, list
  return list
end

local function append(list, waiter)
  waiter.prev, waiter.next = list.prev, list
  list.prev.next = waiter
  list.prev = waiter
end

local function remove(waiter)
  waiter.prev.next = waiter.next
  waiter.next.prev = waiter.prev
  waiter.prev, waiter.next = waiter, waiter
end

---A queue of at most `size` values; without a size it is not bounded.
---@param size? integer
---@return zerg.queue
function M.new(size)
  if size ~= nil and not bytes.is_count(size, 1) then
    return bytes.misuse("zerg.queue", "a whole size of at least 1", size)
  end
  return setmetatable({
    _size = size or math.huge,
    _values = {},
    _first = 1,
    _last = 0,
    _getters = new_list(),
    _putters = new_list(),
  }, metatable)
end

local function count(self)
  return self._last - self._first + 1
end

local function push(self, value)
  self._last = self._last + 1
  self._values[self._last] = value
end

local function pop(self)
  local first = self._first
  local value = self._values[first]
  self._values[first] = nil
  self._first = first + 1
  if self._first > self._last then
    -- Back to the start, so that the table does not wander off into its hash part.
    self._first, self._last = 1, 0
  end
  return value
end

-- Takes the first waiter that could be woken off the list; it is served. One that cannot is about
-- to run for another reason (time-out, cancellation) and must not be given anything.
local function wake_first(list)
  while list.next ~= list do
    local waiter = list.next
    remove(waiter)
    if C.zerg_task_wake(waiter.handle) == 1 then
      waiter.served = true
      return waiter
    end
  end
  return nil
end

-- Waits in `list` for one wake. "served", "timeout", "canceled" (the caller raises), or "again"
-- when it was woken for something else; nil and a reason outside of a task.
local function park_in(list, method, waiter, timeout_s)
  local rc = C.zerg_task_self(waiter.handle)
  if rc ~= OK then
    -- 3: the script's call of put or get.
    return outcome.fail(nil, method, rc, 3)
  end
  append(list, waiter)
  local code = task.wait(timeout_s)
  remove(waiter)
  if code == WAKE_CANCEL then
    return "canceled"
  elseif waiter.served then
    return "served"
  end
  return code == TIMEOUT and "timeout" or "again"
end

-- A place became free: the first that waits to put has its value taken in.
local function admit_putter(self)
  local waiter = wake_first(self._putters)
  if waiter then
    push(self, waiter.value)
  end
end

---Puts a value at the end. Parks while the queue is full.
---@param value any not nil
---@return true
function methods.put(self, value)
  if value == nil then
    return bytes.misuse("queue:put", "a value", value)
  end
  local getter = wake_first(self._getters)
  if getter then
    getter.value = value
    return true
  elseif count(self) < self._size then
    push(self, value)
    return true
  end
  local waiter = { handle = task_t(), value = value, served = false }
  local woken = park_in(self._putters, "queue:put", waiter, -1)
  if woken == "again" then
    return methods.put(self, value)
  elseif woken == "canceled" then
    error(CANCELED, 0)
  end
  return true
end

---Takes the oldest value. Parks while the queue is empty.
---@param timeout? number seconds; 0: does not park
---@return any value
---@return string|nil reason "timeout"
function methods.get(self, timeout)
  if timeout ~= nil and not bytes.is_number(timeout, 0) then
    return bytes.misuse("queue:get", "a time-out in seconds", timeout)
  elseif count(self) > 0 then
    local value = pop(self)
    admit_putter(self)
    return value
  elseif timeout == 0 then
    return nil, "timeout"
  end
  local ends = timeout and timeout < math.huge and C.zerg_now() + timeout
  local waiter = { handle = task_t(), value = nil, served = false }
  local woken = park_in(self._getters, "queue:get", waiter, ends and timeout or -1)
  if woken == "again" then
    return methods.get(self, ends and math.max(ends - C.zerg_now(), 0) or nil)
  elseif woken == "timeout" then
    return nil, "timeout"
  elseif woken == "canceled" then
    error(CANCELED, 0)
  end
  return waiter.value
end

return M
