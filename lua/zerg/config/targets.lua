-- Where to connect to, as operators write it.

local addresses = require "zerg.config.addresses"

local M = {}

local EXPECTED_TARGET = 'an address and port such as "127.0.0.1:3000" or "[::1]:3000", '
  .. 'or "unix:/path" (names are not available in this version)'

---@class zerg.config.target
---@field address string|nil numeric, without brackets
---@field port integer|nil
---@field path string|nil of a unix socket; "@name": abstract

---@param text string
---@return zerg.config.target|nil
function M.parse(text)
  local path = text:match("^unix:(.+)$")
  if path then
    return path ~= "@" and { path = path } or nil
  end
  local host, digits = text:match("^%[([^%[%]]*:[^%[%]]*)%]:(%d+)$")
  if not host then
    host, digits = text:match("^([^:%[%]]+):(%d+)$")
  end
  local port = tonumber(digits)
  if not host or #digits > 5 or port < 1 or port > 65535 or not addresses.key(host) then
    return nil
  end
  return { address = host, port = port }
end

---Where to forward, as text; the path of a unix socket joined to the configuration's directory.
function M.read(checker, _, value, path)
  local target = type(value) == "string" and not value:find("%z") and M.parse(value)
  if not target then
    return checker:expected(path, EXPECTED_TARGET, value)
  elseif target.path then
    local joined = addresses.read_path(checker, _, target.path, path)
    return joined and "unix:" .. joined
  end
  return value
end

return M
