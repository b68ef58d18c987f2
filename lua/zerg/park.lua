-- Parking: how Lua code waits. A C function records what the running task awaits and returns
-- ZERG_PARK; the Lua side then yields PARK to the reactor, which resumes the task with a wake code.
-- coroutine.resume and coroutine.wrap are replaced so that code inside a script's own coroutines
-- can park too: PARK travels outward through them and the wake code back in.

local C = require("zerg.ffi").C

local M = {}

local WAKE_CANCEL = C.ZERG_WAKE_CANCEL

local raw_yield = coroutine.yield
local raw_resume = coroutine.resume
local raw_wrap = coroutine.wrap
local raw_create = coroutine.create

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

-- Coroutines of the script that are parked: only the wake code may go into those.
local parked = setmetatable({}, { __mode = "k" })

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
    parked[co] = true
    local code = raw_yield(PARK)
    parked[co] = nil
    return pass_parks(co, raw_resume(co, code))
  end
  return ...
end

---coroutine.resume in which `co` may park.
---@param co thread
---@return boolean ok
---@return any ...
function M.resume(co, ...)
  if parked[co] then
    return false, "cannot resume parked coroutine"
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
  local co = raw_create(fn)
  return function(...)
    return results_or_error(M.resume(co, ...))
  end
end

---Puts resume and wrap into `library` (the global coroutine table), once per Lua state.
---@param library table
function M.install(library)
  library.resume = M.resume
  library.wrap = M.wrap
end

---Puts back what install() replaced.
---@param library table
function M.uninstall(library)
  library.resume = raw_resume
  library.wrap = raw_wrap
end

return M
