-- Connections to others: zerg.connect, conn:keepalive and zerg.resolve, and what these share with
-- conn:forward: options, and waiting for what C has under way for the task.

local bytes = require("zerg.bytes")
local outcome = require("zerg.outcome")
local park = require("zerg.park")
local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local CANCELED = park.CANCELED
local OK, PARK, END = C.ZERG_OK, C.ZERG_PARK, C.ZERG_END
local RANGE, NO_TARGET = C.ZERG_RANGE, C.ZERG_NO_TARGET
local RESULT_CANCELED, WAKE_CANCEL = C.ZERG_CANCELED, C.ZERG_WAKE_CANCEL
local LOOKUP_PARK = C.ZERG_LOOKUP_PARK

local EXPECTED_TARGET = "an upstream's name or a target such as \"db.internal:5432\""
local FIELDS_BYTES_MAX = 4096

local dial_options_t = ffi.typeof("struct zerg_dial_options")

---Raises in a task that was cancelled while C had something under way for it.
function M.raise_canceled()
  C.zerg_pending_drop()
  error(CANCELED, 0)
end

---Yields after PARK; raises when the task was cancelled.
---@return integer code
function M.wait()
  local code = park.wait()
  if code == WAKE_CANCEL then
    return M.raise_canceled()
  end
  return code
end

---@param value any
---@return boolean
local function is_seconds(value)
  return bytes.is_number(value, 0)
end

-- What each option must be, in words, and how that is found out.
local CHECKS = {
  connect_timeout = { "seconds (0: no limit)", is_seconds },
  idle_timeout = { "seconds (0: none)", is_seconds },
  total_timeout = { "seconds (0: none)", is_seconds },
  hash_key = { "a string", function(value)
    return type(value) == "string"
  end },
  proxy_protocol = { "0, 1 or 2", function(value)
    return value == 0 or value == 1 or value == 2
  end },
  proxy_tlvs = { "a table of strings by type", function(value)
    return type(value) == "table"
  end },
  fresh = { "true or false", function(value)
    return type(value) == "boolean"
  end },
  filter = { "a table with up or down", function(value)
    return type(value) == "table"
  end },
}

local function check_options(method, opts, allowed)
  if opts ~= nil and type(opts) ~= "table" then
    error(method .. ": expected a table of options, got " .. type(opts), 4)
  end
  for name, value in pairs(opts or {}) do
    local check = allowed[name] and CHECKS[name]
    if not check then
      error(method .. ": unknown option '" .. tostring(name) .. "'", 4)
    elseif not check[2](value) then
      error(("%s: %s: expected %s, got %s"):format(method, name, check[1], tostring(value)), 4)
    end
  end
end

-- The fields of a PROXY protocol header as C takes them, in the order of their types.
local function pack_fields(method, fields)
  local types, parts, total = {}, {}, 0
  for kind, value in pairs(fields) do
    if not bytes.is_count(kind, 0, 255) or type(value) ~= "string" then
      error(method .. ": proxy_tlvs: expected strings by type (0 to 255)", 4)
    end
    total = total + 3 + #value
    types[#types + 1] = kind
  end
  if total > FIELDS_BYTES_MAX then
    error(("%s: proxy_tlvs: %d bytes, at most %d"):format(method, total, FIELDS_BYTES_MAX), 4)
  end
  table.sort(types)
  for _, kind in ipairs(types) do
    local value = fields[kind]
    parts[#parts + 1] = string.char(kind, math.floor(#value / 256), #value % 256) .. value
  end
  return table.concat(parts)
end

---Options of a script as C takes them. An error is the fault of the caller's caller.
---@param method string
---@param opts table|nil
---@param allowed table<string, boolean> names of options
---@return ffi.cdata* options struct zerg_dial_options
---@return table anchor what must live as long as the call
function M.options(method, opts, allowed)
  check_options(method, opts, allowed)
  opts = opts or {}
  local fields = opts.proxy_tlvs and pack_fields(method, opts.proxy_tlvs) or ""
  local key = opts.hash_key
  local options = dial_options_t()
  options.connect_s = opts.connect_timeout or -1
  options.idle_s = opts.idle_timeout or -1
  options.total_s = opts.total_timeout or -1
  options.hash_key, options.hash_key_len = key, key and #key or 0
  options.proxy_version = opts.proxy_protocol or -1
  options.fields, options.fields_len = ffi.cast("const uint8_t *", fields), #fields
  options.no_reuse = opts.fresh and 1 or 0
  return options, { fields, key }
end

---What a method does with a result that is no success. For a tail call from the public method.
---@param method string
---@param rc integer
---@param target any what was to be connected to
---@return nil
---@return string reason
function M.fail(method, rc, target)
  if rc == END then
    return nil, ffi.string(C.zerg_pending_reason())
  elseif rc == RESULT_CANCELED then
    return M.raise_canceled()
  elseif rc == NO_TARGET then
    local shown = type(target) == "string" and ("%q"):format(target) or type(target)
    error(method .. ": expected " .. EXPECTED_TARGET .. ", got " .. shown, 2)
  elseif rc == RANGE then
    error(method .. ": proxy_tlvs: fields that a PROXY protocol header of version 2 can have, "
      .. "in a header of that version", 2)
  end
  return outcome.fail(nil, method, rc)
end

local CONNECT_OPTIONS = { connect_timeout = true, hash_key = true, fresh = true }

---Connects. Parks.
---@param target string
---@param options ffi.cdata*
---@param anchor table of the options
---@return zerg.conn|nil
---@return integer rc for fail(), when there is no connection
function M.dial(target, options, anchor)
  -- With its finalizer from the start: C keeps a pointer to what it fills in.
  local conn = ffi.gc(zffi.conn_t(), C.zerg_conn_let_go)
  local rc = C.zerg_connect(target, #target, options, conn)
  while rc == PARK do
    M.wait()
    rc = C.zerg_connect_finish(conn)
  end
  if rc ~= OK or not anchor then
    ffi.gc(conn, nil)
    return nil, rc
  end
  M.own(conn)
  return conn, OK
end

---Connects to a target: the name of an upstream, "host:port", "[v6]:port", "unix:/path" or
---"srv:name". A connection that conn:keepalive() gave back will do. Parks.
---@param target string
---@param opts? { connect_timeout?: number, hash_key?: string, fresh?: boolean }
---@return zerg.conn|nil conn closed when it is collected, unless it was before
---@return string|nil reason
function M.connect(target, opts)
  if type(target) ~= "string" then
    return M.fail("zerg.connect", NO_TARGET, target)
  end
  local conn, rc = M.dial(target, M.options("zerg.connect", opts, CONNECT_OPTIONS))
  if conn then
    return conn
  end
  return M.fail("zerg.connect", rc, target)
end

---What is kept about a connection by its handle begins, and ends. Set by zerg.conn.
---@type fun(conn: zerg.conn)
M.own, M.disown = nil, nil

---Looks the addresses of a host name up, by /etc/hosts and DNS. Parks.
---@param host string a name or a numeric address
---@return string[]|nil addresses in the order to try them
---@return string|nil reason "dns: ..."
function M.resolve(host)
  if type(host) ~= "string" then
    return bytes.misuse("zerg.resolve", "a host name", host)
  end
  local rc = C.zerg_resolve(host, #host)
  if rc == NO_TARGET then
    error(("zerg.resolve: expected a host name, got %q"):format(host), 2)
  elseif rc == PARK then
    repeat
      M.wait()
      rc = C.zerg_resolve_finish()
    until rc ~= LOOKUP_PARK
  end
  if rc <= 0 then
    return M.fail("zerg.resolve", rc, host)
  end
  local addresses = {}
  for place = 0, rc - 1 do
    addresses[place + 1] = ffi.string(C.zerg_resolved(place))
  end
  C.zerg_pending_drop()
  return addresses
end

---@class zerg.conn
local methods = {}

M.methods = methods

---Gives a connection of zerg.connect() back to the reactor's pool, for the next connect to the same
---target that gets that server; what was staged must have been flushed, and what came have been
---read, or it is closed instead, as it is where the pool takes no more. It cannot be used
---afterwards, and its on_close callbacks are not called while it is kept. Does not park.
---@param idle_s? number how long it may wait there; 60 by default, 0: for ever
---@return true|nil ok
---@return string|nil reason
function methods.keepalive(self, idle_s)
  if idle_s ~= nil and not is_seconds(idle_s) then
    return bytes.misuse("conn:keepalive", "seconds", idle_s)
  end
  local rc = C.zerg_conn_keepalive(self, idle_s or -1)
  if rc == OK then
    M.disown(self)
    return true
  elseif rc == NO_TARGET then
    error("conn:keepalive: expected a connection of zerg.connect", 2)
  elseif rc == RANGE then
    return nil, "busy: bytes were left unread or unsent"
  end
  return outcome.fail(self, "conn:keepalive", rc)
end

return M
