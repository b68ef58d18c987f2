-- Addresses and unix paths as operators write them. Functions called read_x read the value of a
-- key, with the checker of check.lua to note problems on.

local bit = require "bit"
local ffi = require "ffi"

local files = require "zerg.config.files"
local schema = require "zerg.config.schema"
local values = require "zerg.config.values"

-- libc, thread-safe both: every reactor checks its own copy of the configuration.
ffi.cdef [[
int inet_pton(int family, const char *text, void *out);
unsigned int if_nametoindex(const char *name);
]]

local M = {}

local AF_INET, AF_INET6 = 2, 10

---The bytes of an address, hexadecimal with its family in front ("4:7f000001"): equal for equal
---addresses.
---@param text string "127.0.0.1", "::1", "fe80::1%eth0"
---@return string|nil
function M.key(text)
  local host, zone = text:match("^([^%%]*)%%?(.*)$")
  local family = host:find(":", 1, true) and AF_INET6 or AF_INET
  local out = ffi.new("uint8_t[16]")
  if text:find("%z") or ffi.C.inet_pton(family, host, out) ~= 1 then
    return nil
  end
  local zone_is_wrong = zone ~= "" and (family == AF_INET or ffi.C.if_nametoindex(zone) == 0)
  if zone_is_wrong or (zone == "" and text:find("%%")) then
    return nil
  end
  local bytes = {}
  for index = 0, family == AF_INET and 3 or 15 do
    bytes[#bytes + 1] = bit.tohex(out[index], 2)
  end
  return (family == AF_INET and "4:" or "6:") .. table.concat(bytes) .. zone
end

---As written.
function M.read_address(checker, _, value, path)
  if type(value) ~= "string" or not M.key(value) then
    local brackets = type(value) == "string" and value:find("^%[") and " (no brackets here)" or ""
    local what = 'an IPv4 or IPv6 address such as "127.0.0.1" or "::1"' .. brackets
    return checker:expected(path, what, value)
  end
  return value
end

---Whether `digits` are a number up to `most`.
local function is_number_up_to(digits, most)
  return digits:find("^%d%d?%d?%d?%d?$") ~= nil and tonumber(digits) <= most
end

---Whether `digits` are the number of a port.
---@param digits string
---@return boolean
function M.is_port(digits)
  return is_number_up_to(digits, 65535) and tonumber(digits) > 0
end

---"10.0.0.0/8", "::1", or "unix", as written.
function M.read_range(checker, _, value, path)
  local host, bits = tostring(value):match("^([^/%%]*)/(.*)$")
  host = host or tostring(value):match("^[^%%]*$")
  local key = host and M.key(host)
  local is_range = key and (not bits or is_number_up_to(bits, key:find("^4") and 32 or 128))
  if type(value) ~= "string" or not (value == "unix" or is_range) then
    return checker:expected(path, 'an address range such as "10.0.0.0/8" or "::1", or "unix"',
      value)
  end
  return value
end

---An address with or without port to one with port, 53 by default.
function M.read_name_server(checker, _, value, path)
  local text = tostring(value)
  local host, digits = text:match("^%[([^%[%]%%]*:[^%[%]%%]*)%]:?(%d*)$")
  if not host then
    host, digits = text:match("^([^:%[%]%%]+):?(%d*)$")
  end
  host = host or text:find("%%") == nil and text
  digits = digits and digits ~= "" and digits or "53"
  if type(value) ~= "string" or text:find(":$") or not host or not M.key(host)
    or not M.is_port(digits) then
    return checker:expected(path, 'an address such as "127.0.0.1:53" or "[::1]:53"', value)
  end
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, tonumber(digits))
end

---The path joined to the configuration's directory, which must not be too long then.
local function joined_path(checker, value, path, bytes_max)
  local joined = value:sub(1, 1) == "@" and value or files.join(checker.context.directory, value)
  if #joined > bytes_max then
    return checker:problem(path, ("%s has %d bytes, a unix socket's path at most %d"):format(
      values.show(joined), #joined, bytes_max))
  end
  return joined
end

---Joined to the configuration's directory.
function M.read_path(checker, _, value, path)
  if type(value) ~= "string" or value == "" or value == "@" or value:find("%z") then
    return checker:expected(path, "the path of a unix socket", value)
  end
  return joined_path(checker, value, path, schema.PATH_BYTES_MAX)
end

---The same for the control socket, which must be a file: its permissions are what protects it.
function M.read_control(checker, _, value, path)
  if value == false then
    return false
  elseif type(value) ~= "string" or value == "" or value:find("^@") or value:find("%z")
    or value:find("/$") then
    return checker:expected(path, "the path of a unix socket's file, or false", value)
  end
  return joined_path(checker, value, path, schema.CONTROL_BYTES_MAX)
end

return M
