-- conn:forward and conn:relay: the script decides, C carries. With filters the script carries too;
-- that is in conn_filter.lua.

local bytes = require("zerg.bytes")
local connect = require("zerg.connect")
local filter = require("zerg.conn_filter")
local outcome = require("zerg.outcome")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local OK, PARK, END, NO_TARGET = C.ZERG_OK, C.ZERG_PARK, C.ZERG_END, C.ZERG_NO_TARGET
local NO_MEMORY, CANCELED = C.ZERG_NO_MEMORY, C.ZERG_CANCELED
local TIMEOUT = C.ZERG_WAKE_TIMEOUT
local conn_t = zffi.conn_t
local result_t = ffi.typeof("struct zerg_forward_result")

local FORWARD_OPTIONS = {
  connect_timeout = true, idle_timeout = true, total_timeout = true, hash_key = true,
  proxy_protocol = true, proxy_tlvs = true, filter = true,
}
local BYTES_MAX = 2 ^ 53

---How a forward went.
---@class zerg.forward.result
---@field server string address of the server
---@field bytes_up number from the client
---@field bytes_down number to the client
---@field duration number seconds from the call to the end
---@field reason string "closed": both sides have said all they had; else why one ended early

---@class zerg.forward.options
---@field connect_timeout? number seconds for each server that is tried
---@field idle_timeout? number seconds without a byte either way
---@field total_timeout? number seconds from the call
---@field hash_key? string what a hashing upstream chooses by; the client's address by default
---@field proxy_protocol? 0|1|2 whether a PROXY protocol header goes first
---@field proxy_tlvs? table<integer, string> its fields, by type
---@field filter? zerg.forward.filter

---What sees the bytes of each direction before they go on: gives what goes on in their place, a
---string or the sequence itself; nil drops them.
---@class zerg.forward.filter
---@field up? fun(data: zerg.seq): string|zerg.seq|nil
---@field down? fun(data: zerg.seq): string|zerg.seq|nil
---@field up_end? fun(): string|nil once, when the client has ended its stream
---@field down_end? fun(): string|nil once, when the server has

---@class zerg.conn
local methods = {}

local function begin(self, target, options)
  if type(target) == "string" then
    return C.zerg_forward(self, target, #target, options)
  elseif ffi.istype(conn_t, target) then
    return C.zerg_forward_conn(self, target, options)
  end
  return NO_TARGET
end

local function check_conn_target(self, target, opts)
  if self and target._id == self._id then
    error("conn:forward: a connection cannot be forwarded to itself", 3)
  elseif opts and ((opts.proxy_protocol or 0) > 0 or opts.proxy_tlvs) then
    error("conn:forward: proxy_protocol: only a server that is connected to gets a header", 3)
  end
end

---Hands the connection to a server and lets C relay both ways until both ends are done. What was
---peeked at or left unread goes first. Parks.
---@param target string|zerg.conn the name of an upstream, "host:port", "[v6]:port", "unix:/path",
---"srv:name", or another connection
---@param opts? zerg.forward.options
---@return zerg.forward.result|nil result nil: no server was reached, the connection is still the
---script's
---@return string|nil reason
function methods.forward(self, target, opts)
  local options, anchor = connect.options("conn:forward", opts, FORWARD_OPTIONS)
  if ffi.istype(conn_t, target) then
    check_conn_target(self, target, opts)
  end
  if opts and opts.filter then
    return filter.forward(self, target, opts, options, anchor)
  end
  local result = result_t()
  local rc = begin(self, target, options)
  while rc == PARK do
    connect.wait()
    rc = C.zerg_forward_finish(result)
  end
  -- Both are held on to up to here: a connection that the script made is closed with its handle.
  if rc ~= OK or not anchor or not self then
    return connect.fail("conn:forward", rc, target)
  end
  return {
    server = ffi.string(result.server), bytes_up = result.bytes_up, bytes_down = result.bytes_down,
    duration = result.duration_s, reason = ffi.string(result.reason),
  }
end

-- The last bytes may have come after the time-out, before this task was resumed.
local function time_out(n)
  C.zerg_pending_drop()
  local moved = C.zerg_relay_moved()
  if moved == n then
    return n
  end
  return nil, "timeout", moved
end

---Moves exactly the next n bytes that this connection receives to another one, in C. Parks.
---@param to zerg.conn
---@param n integer
---@return integer|nil n
---@return string|nil reason
---@return integer|nil moved how many went before that
function methods.relay(self, to, n)
  if not ffi.istype(conn_t, to) then
    return bytes.misuse("conn:relay", "a connection", to)
  elseif not bytes.is_count(n, 0, BYTES_MAX) and n ~= math.huge then
    return bytes.misuse("conn:relay", "a count of bytes", n)
  elseif n == 0 then
    return 0
  end
  local rc = C.zerg_relay(self, to, n)
  while rc == PARK do
    if connect.wait() == TIMEOUT then
      return time_out(n)
    end
    rc = C.zerg_relay_finish()
  end
  -- `to` is held on to up to here: a connection that the script made is closed with its handle.
  if rc == OK and to then
    return n
  elseif rc == CANCELED then
    return connect.raise_canceled()
  elseif rc == END then
    return nil, ffi.string(C.zerg_pending_reason()), C.zerg_relay_moved()
  elseif rc == NO_MEMORY then
    return nil, "limit: out of memory", C.zerg_relay_moved()
  end
  return outcome.fail(self, "conn:relay", rc)
end

return methods
