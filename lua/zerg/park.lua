-- Parking: how Lua code waits. A C function records what the running task awaits and returns
-- ZERG_PARK; the Lua side then yields PARK to the reactor, which resumes the task with a wake code.
-- The functions of the coroutine library are replaced so that code inside a script's own coroutines
-- can park too: PARK travels outward through them and the wake code back in. Only what was made by
-- them can be resumed by them: the coroutine of a handler or task belongs to C.

local C = require("zerg.ffi").C

local M = {}

local WAKE_CANCEL = C.ZERG_WAKE_CANCEL

local raw_yield = coroutine.yield
local raw_resume = coroutine.resume
local raw_wrap = coroutine.wrap
local raw_create = coroutine.create
local raw_running = coroutine.running

---What a parked coroutine yields. A plain table: C compares lua_topointer() with that of this
---field, and takes every other yield of a task's own coroutine for misuse.
M.PARK = {}

---What is raised in a task that was cancelled or whose deadline has passed, always as this very
---table, so that C, zerg.deadline and zerg.spawn know it by identity.
M.CANCELED = setmetatable({}, {
  __name = "zerg.canceled",
  __tostring = function()
    return "canceled"
  end,
})

local PARK, CANCELED = M.PARK, M.CANCELED

-- The script's own coroutines: OWN, or why one cannot be resumed.
local OWN = "own"
local PARKED = "cannot resume parked coroutine"
local FOREIGN = "cannot resume the coroutine of a handler or task"
local states = setmetatable({}, { __mode = "k" })

-- How many deadlines a coroutine is inside of (nil: none), and all of them together, so that a
-- yield costs next to nothing where there are none.
local scopes = setmetatable({}, { __mode = "k" })
local scope_count = 0

---Yields to the reactor and gives the wake code, ZERG_WAKE_CANCEL too: for callers that must undo
---something before they raise CANCELED. Only right after a C function returned ZERG_PARK.
---@return integer code enum zerg_wake
function M.wait()
  return raw_yield(PARK)
end

---Yields to the reactor; raises when the task was cancelled. Only right after a C function returned
---ZERG_PARK.
---@return integer code ZERG_WAKE or ZERG_WAKE_TIMEOUT
function M.park()
  local code = raw_yield(PARK)
  if code == WAKE_CANCEL then
    error(CANCELED, 0)
  end
  return code
end

-- Passes every PARK of `co` outward; `...` is what resuming it gave.
local function pass_parks(co, ...)
  local ok, first = ...
  if ok and rawequal(first, PARK) then
    states[co] = PARKED
    local code = raw_yield(PARK)
    states[co] = OWN
    return pass_parks(co, raw_resume(co, code))
  end
  return ...
end

---coroutine.create.
---@param fn function
---@return thread
function M.create(fn)
  local co = raw_create(fn)
  states[co] = OWN
  return co
end

---coroutine.yield, which must not leave a deadline behind: that would cancel what has nothing to do
---with it.
---@param ... any
---@return any ...
function M.yield(...)
  if scope_count > 0 and scopes[raw_running()] then
    error("coroutine.yield: cannot yield out of zerg.deadline", 2)
  end
  return raw_yield(...)
end

---A deadline begins in the running coroutine. For zerg.deadline.
---@return thread co for leave_scope()
function M.enter_scope()
  local co = raw_running()
  scopes[co] = (scopes[co] or 0) + 1
  scope_count = scope_count + 1
  return co
end

---@param co thread
function M.leave_scope(co)
  local count = scopes[co]
  scopes[co] = count > 1 and count - 1 or nil
  scope_count = scope_count - 1
end

---coroutine.resume in which `co` may park.
---@param co thread
---@return boolean ok
---@return any ...
function M.resume(co, ...)
  local state = states[co]
  if state ~= OWN and type(co) == "thread" then
    return false, state or FOREIGN
  end
  return pass_parks(co, raw_resume(co, ...))
end

-- As coroutine.wrap does: a string gets the position of the caller, another value goes on as it is.
local function results_or_error(ok, ...)
  if ok then
    return ...
  end
  error((...), 2)
end

---coroutine.wrap in which `fn` may park.
---@param fn function
---@return function
function M.wrap(fn)
  if type(fn) ~= "function" then
    error("bad argument #1 to 'wrap' (function expected, got " .. type(fn) .. ")", 2)
  end
  local co = M.create(fn)
  return function(...)
    return results_or_error(M.resume(co, ...))
  end
end

---Puts its functions into `library` (the global coroutine table), once per Lua state.
---@param library table
function M.install(library)
  library.create, library.resume = M.create, M.resume
  library.wrap, library.yield = M.wrap, M.yield
end

---Puts back what install() replaced.
---@param library table
function M.uninstall(library)
  library.create, library.resume = raw_create, raw_resume
  library.wrap, library.yield = raw_wrap, raw_yield
end

return M
