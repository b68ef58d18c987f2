-- Tells C where compiled code is: machine code addresses and the script line each trace starts at,
-- so that the watchdog can name the line of a handler that never parks (hooks do not run in
-- compiled code).

local jit_util = require("jit.util")

local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C

-- Where traces start, by number. One that starts in a module of zerg's (compiled on behalf of the
-- script that calls it) has the place of the trace it hangs on.
local places = {}

-- zerg's own modules have chunk names like this one's.
local OWN_FOLDER = debug.getinfo(1, "S").source:match("^@?(.*)trace%.lua$")

local function is_own(place)
  return place:sub(1, #OWN_FOLDER) == OWN_FOLDER
end

local function place_of(func, pc, parent)
  local info = jit_util.funcinfo(func, pc)
  local place = ("%s:%d"):format((info.source or "?"):gsub("^@", ""), info.currentline or 0)
  if is_own(place) and places[parent] then
    return places[parent]
  end
  return place
end

local function on_stop(number)
  local code, address = jit_util.tracemc(number)
  if code then
    C.zerg_trace_compiled(address, #code, places[number])
  end
end

local function on_trace(what, number, func, pc, parent)
  if what == "start" then
    places[number] = place_of(func, pc, parent)
  elseif what == "stop" then
    on_stop(number)
  elseif what == "flush" then
    places = {}
    C.zerg_trace_compiled(0, 0, nil)
  end
end

---Reports every trace from now on.
function M.start()
  jit.attach(on_trace, "trace")
end

---Stops reporting.
function M.stop()
  jit.attach(on_trace)
end

return M
