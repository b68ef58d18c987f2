-- zerg.log: lines to the server's log. Nothing is formatted for a level that is off.

local zffi = require("zerg.ffi")

local C = zffi.C

---@class zerg.log
local M = {}

local LEVELS = { "debug", "info", "warn", "error" }

-- error()'s level 3: the script's call of log.info.
local function format(name, fmt, ...)
  if select("#", ...) == 0 then
    return tostring(fmt)
  end
  local ok, message = pcall(string.format, fmt, ...)
  if not ok then
    error("zerg.log." .. name .. ": " .. message, 3)
  end
  return message
end

local function logger(level, name)
  return function(fmt, ...)
    if C.zerg_log_is_on(level) == 0 then
      return
    end
    local message = format(name, fmt, ...)
    C.zerg_log(level, message, #message)
  end
end

for index, name in ipairs(LEVELS) do
  M[name] = logger(index - 1, name)
end

---@type fun(fmt: any, ...: any) string.format with arguments; without, fmt as it is
M.debug = M.debug
---@type fun(fmt: any, ...: any)
M.info = M.info
---@type fun(fmt: any, ...: any)
M.warn = M.warn
---@type fun(fmt: any, ...: any)
M.error = M.error

---What `print` is in scripts: its arguments at level info, separated by tabs.
---@param ... any
function M.print(...)
  if C.zerg_log_is_on(1) == 0 then
    return
  end
  local parts = { ... }
  for index = 1, select("#", ...) do
    parts[index] = tostring(parts[index])
  end
  local message = table.concat(parts, "\t")
  C.zerg_log(1, message, #message)
end

return M
