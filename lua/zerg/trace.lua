-- Tells C where compiled code is: machine code addresses and the script line each trace starts at,
-- so that the watchdog can name the line of a handler that never parks (hooks do not run in
-- compiled code).

local jit_util = require("jit.util")

local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C

-- Where the traces that are being recorded start; there is one at a time.
local place = "?"

local function on_start(func, pc)
  local info = jit_util.funcinfo(func, pc)
  place = info.loc or "?"
end

local function on_stop(number)
  local code, address = jit_util.tracemc(number)
  if code then
    C.zerg_trace_compiled(address, #code, place)
  end
end

local function on_trace(what, number, func, pc)
  if what == "start" then
    on_start(func, pc)
  elseif what == "stop" then
    on_stop(number)
  elseif what == "flush" then
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
