-- Where to connect to, as operators write it: "127.0.0.1:3000", "[::1]:3000", "db.internal:5432",
-- "unix:/path", "unix:@name", "srv:_pg._tcp.db.internal".

local addresses = require "zerg.config.addresses"

local M = {}

local HOST_NAME_BYTES_MAX, LABEL_BYTES_MAX = 253, 63 -- RFC 1035, 2.3.4

local EXPECTED = 'an address or host name with a port such as "127.0.0.1:3000", "[::1]:3000" or '
  .. '"db.internal:5432", or "unix:/path", or "srv:_service._tcp.name"'
local EXPECTED_UNIX = 'the path of a socket behind "unix:", such as "unix:/run/app.sock"'
local EXPECTED_SERVICE = 'the name of a service behind "srv:", such as "srv:_pg._tcp.db.internal"'
local EXPECTED_PORT = 'a port from 1 to 65535 behind the last ":"'
local EXPECTED_NO_URL = 'an address and a port such as "127.0.0.1:3000", without "%s://"'
local EXPECTED_BRACKETS = 'an IPv6 address in brackets such as "[::1]:3000"'
local EXPECTED_HOST = 'an address or host name before the port, such as "127.0.0.1:3000" or '
  .. '"db.internal:5432"'

---@class zerg.config.target
---@field address string|nil numeric, without brackets
---@field name string|nil of a host; a target has an address, a name, a service, or a path
---@field port integer|nil of an address or a name
---@field service string|nil name of DNS SRV records
---@field path string|nil of a unix socket; "@name": abstract

---Whether `text` is a host name (RFC 1123), "_" allowed too. What ends in a number is none: it
---would be an IPv4 address, but a wrong one.
local function is_host_name(text)
  local name, last = text:gsub("%.$", ""), nil
  if #name > HOST_NAME_BYTES_MAX then
    return false
  end
  for label in (name .. "."):gmatch("([^.]*)%.") do
    if #label > LABEL_BYTES_MAX or not label:find("^[%w_-]+$") or label:find("^%-")
      or label:find("%-$") then
      return false
    end
    last = label
  end
  return last:find("%D") ~= nil
end

---@return zerg.config.target|nil
---@return string|nil what was expected
local function parse_service(name)
  local host = name:match("^_[%w_-]+%._[%w-]+%.(.+)$")
  if not host or not is_host_name(name) then
    return nil, EXPECTED_SERVICE
  end
  return { service = name }
end

---@return zerg.config.target|nil
---@return string|nil what was expected
local function parse_host(text)
  local host, digits = text:match("^(.*):([^:%]]*)$")
  local inner = host and host:match("^%[([^%[%]]*)%]$")
  local is_v6 = inner ~= nil and inner:find(":", 1, true) ~= nil and addresses.key(inner) ~= nil
  if not host or host == "" then
    return nil, EXPECTED
  elseif not is_v6 and host:find("[:%[%]]") then
    return nil, EXPECTED_BRACKETS
  elseif not addresses.is_port(digits) then
    return nil, EXPECTED_PORT
  end
  local target = { port = tonumber(digits) }
  if is_v6 or addresses.key(host) then
    target.address = inner or host
  elseif is_host_name(host) then
    target.name = host
  else
    return nil, EXPECTED_HOST
  end
  return target
end

---@param text string
---@return zerg.config.target|nil
---@return string|nil what was expected, as in "expected ..."
function M.parse(text)
  if text:find("%c") then
    return nil, EXPECTED
  end
  local scheme, rest = text:match("^(%l+):(.*)$")
  if rest and rest:sub(1, 2) == "//" then
    return nil, EXPECTED_NO_URL:format(scheme)
  end
  if scheme == "srv" then
    return parse_service(rest)
  elseif scheme == "unix" then
    if rest == "" or rest == "@" then
      return nil, EXPECTED_UNIX
    end
    return { path = rest }
  end
  return parse_host(text)
end

---A text that is equal for equal targets.
---@param target zerg.config.target
---@return string
function M.key(target)
  if target.path or target.service then
    return target.path or target.service:lower()
  end
  local host = target.address and addresses.key(target.address) or target.name:lower()
  return ("%s:%d"):format(host, target.port)
end

---Reads a target, for the checker of check.lua. Gives it back as text; the path of a unix socket
---joined to the configuration's directory.
function M.read(checker, field, value, path)
  local target, what = nil, EXPECTED
  if type(value) == "string" then
    target, what = M.parse(value)
  end
  if not target then
    return checker:expected(path, what, value)
  elseif target.path then
    local joined = addresses.read_path(checker, field, target.path, path)
    return joined and "unix:" .. joined
  end
  return value
end

return M
