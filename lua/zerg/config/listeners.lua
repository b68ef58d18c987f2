-- What the schema cannot say of listeners: addresses, unix paths, handler scripts, where to
-- forward, keys that need or exclude each other, and two listeners in one place. Methods take the
-- checker of check.lua to note problems on.

local bit = require "bit"
local ffi = require "ffi"

local files = require "zerg.config.files"
local handler = require "zerg.config.handler"
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
local function address_key(text)
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

function M.read_address(checker, _, value, path)
  if type(value) ~= "string" or not address_key(value) then
    local brackets = type(value) == "string" and value:find("^%[") and " (no brackets here)" or ""
    local what = 'an IPv4 or IPv6 address such as "127.0.0.1" or "::1"' .. brackets
    return checker:expected(path, what, value)
  end
  return value
end

function M.read_path(checker, _, value, path)
  if type(value) ~= "string" or value == "" or value == "@" or value:find("%z") then
    return checker:expected(path, "the path of a unix socket", value)
  end
  local joined = value:sub(1, 1) == "@" and value or files.join(checker.context.directory, value)
  if #joined > schema.PATH_BYTES_MAX then
    return checker:problem(path, ("%s has %d bytes, a unix socket's path at most %d"):format(
      values.show(joined), #joined, schema.PATH_BYTES_MAX))
  end
  return joined
end

---Octal digits to the number that chmod(2) takes.
function M.read_mode(checker, _, value, path)
  if type(value) ~= "string" or not value:find("^0?[0-7][0-7][0-7]$") then
    return checker:expected(path, 'octal digits in quotes such as "0660"', value)
  end
  return tonumber(value, 8)
end

function M.read_handler(checker, _, value, path)
  if type(value) == "function" then
    return value
  elseif type(value) ~= "string" or value == "" then
    return checker:expected(path, "a function or the path of a Lua file", value)
  end
  local _, problem = handler.compile(files.join(checker.context.directory, value))
  if problem then
    return checker:problem(path, problem.message, problem.file and problem)
  end
  return value
end

local EXPECTED_TARGET = 'an address and port such as "127.0.0.1:3000" or "[::1]:3000", '
  .. 'or "unix:/path" (names are not available in this version)'

---@class zerg.config.target
---@field address string|nil numeric, without brackets
---@field port integer|nil
---@field path string|nil of a unix socket; "@name": abstract

---@param text string
---@return zerg.config.target|nil
local function parse_target(text)
  local path = text:match("^unix:(.+)$")
  if path then
    return path ~= "@" and { path = path } or nil
  end
  local host, digits = text:match("^%[([^%[%]]*:[^%[%]]*)%]:(%d+)$")
  if not host then
    host, digits = text:match("^([^:%[%]]+):(%d+)$")
  end
  local port = tonumber(digits)
  if not host or #digits > 5 or port < 1 or port > 65535 or not address_key(host) then
    return nil
  end
  return { address = host, port = port }
end

---Where to forward, as text; the path of a unix socket joined to the configuration's directory.
function M.read_target(checker, _, value, path)
  local target = type(value) == "string" and not value:find("%z") and parse_target(value)
  if not target then
    return checker:expected(path, EXPECTED_TARGET, value)
  elseif target.path then
    local joined = M.read_path(checker, _, target.path, path)
    return joined and "unix:" .. joined
  end
  return value
end

---The endpoints that a listener binds, each as a text that is equal for equal ones.
---@return string[]
local function endpoints(listener, ip_version)
  if listener.path then
    return { listener.path }
  elseif not listener.port then
    return {}
  elseif listener.address then
    return { ("%s:%d"):format(address_key(listener.address), listener.port) }
  end
  local any = { v4 = { "0.0.0.0" }, v6 = { "::" }, dual = { "0.0.0.0", "::" } }
  local keys = {}
  for index, address in ipairs(any[ip_version] or any.dual) do
    keys[index] = ("%s:%d"):format(address_key(address), listener.port)
  end
  return keys
end

---"127.0.0.1:7000", "[::1]:7000", "*:7000", "unix:/run/x.sock".
local function printed_address(listener)
  if listener.path then
    return "unix:" .. listener.path
  elseif not listener.address then
    return "*:" .. listener.port
  end
  local shape = listener.address:find(":", 1, true) and "[%s]:%d" or "%s:%d"
  return shape:format(listener.address, listener.port)
end

---Port or path, and what goes with which.
local function check_place(checker, given, path)
  if given.port ~= nil and given.path ~= nil then
    checker:problem(checker.below(path, "path"), "give `port` or `path`, not both")
  elseif given.port == nil and given.path == nil then
    checker:problem(path, "expected `port` or `path`: where to listen")
  end
  local only_with = given.path ~= nil and { "address", "tcp" } or { "mode" }
  for _, key in ipairs(only_with) do
    if given[key] ~= nil and (given.port == nil) ~= (given.path == nil) then
      checker:problem(checker.below(path, key),
        ("goes with `%s` only"):format(given.path ~= nil and "port" or "path"))
    end
  end
  if given.mode ~= nil and type(given.path) == "string" and given.path:sub(1, 1) == "@" then
    checker:problem(checker.below(path, "mode"), "an abstract socket has no file to set it on")
  end
end

---A handler, or where to forward.
local function check_purpose(checker, given, path)
  if given.handler == nil and given.forward == nil then
    checker:problem(path,
      "`handler` is missing: a function or the path of a Lua file; or `forward`")
  elseif given.handler ~= nil and given.forward ~= nil then
    checker:problem(checker.below(path, "forward"), "give `handler` or `forward`, not both")
  end
end

---Notes every claim of a key that an earlier listener made already.
local function check_claim(checker, claims, key, index, path, what)
  if claims[key] then
    checker:problem(path, ("listeners[%d] has the same %s"):format(claims[key], what))
    return false
  end
  claims[key] = index
  return true
end

local function check_conflicts(checker, given, normalised)
  local places, names = {}, {}
  for index, listener in ipairs(normalised.listeners) do
    local path = { "listeners", index }
    local what = listener.path and "path" or "address and port"
    for _, key in ipairs(endpoints(listener, normalised.acceptor.ip_version)) do
      local key_path = checker.below(path, listener.path and "path" or "port")
      if not check_claim(checker, places, key, index, key_path, what) then
        break
      end
    end
    if listener.name and given[index].name then
      check_claim(checker, names, listener.name, index, checker.below(path, "name"), "name")
    end
  end
end

---What other parts of zerg read of a listener, beside the keys of zerg.lua.
local function complete(listener, normalised, directory)
  listener.name = listener.name or printed_address(listener)
  listener.backlog = listener.backlog or normalised.acceptor.backlog
  listener.ip_version = normalised.acceptor.ip_version
  if listener.address then
    listener.ip_version = listener.address:find(":", 1, true) and "v6" or "v4"
  end
  if listener.forward then
    local target = parse_target(listener.forward)
    listener.forward_address, listener.forward_port = target.address, target.port
    listener.forward_path = target.path
    listener.handler_label = "forward to " .. listener.forward
  elseif type(listener.handler) == "function" then
    local info = debug.getinfo(listener.handler, "S")
    listener.handler_label = ("%s:%d (function)"):format(info.short_src, info.linedefined)
  else
    listener.handler_path = files.join(directory, listener.handler)
    listener.handler_label = listener.handler_path
  end
end

---Runs the scripts of the listeners that have one, to see what they return.
local function run_scripts(checker, normalised)
  for index, listener in ipairs(normalised.listeners) do
    if type(listener.handler) == "string" then
      local _, problem = handler.run(files.join(checker.context.directory, listener.handler))
      if problem then
        checker:problem({ "listeners", index, "handler" }, problem.message, problem)
      end
    end
  end
end

---Checks all listeners together and, when nothing at all was wrong, completes each with name,
---backlog, ip_version, handler_path (of a script) and handler_label, and with `forward` its parts:
---forward_address and forward_port, or forward_path.
---@param checker zerg.config.checker
---@param given table listeners as zerg.lua has them
---@param normalised table the whole configuration
function M.check(checker, given, normalised)
  for index in ipairs(normalised.listeners) do
    local path, listener = { "listeners", index }, given[index]
    if type(listener) == "table" then
      check_place(checker, listener, path)
      check_purpose(checker, listener, path)
    end
  end
  check_conflicts(checker, given, normalised)
  if checker.context.run_scripts then
    run_scripts(checker, normalised)
  end
  if #checker.problems > 0 then
    return
  end
  for _, listener in ipairs(normalised.listeners) do
    complete(listener, normalised, checker.context.directory)
  end
end

return M
