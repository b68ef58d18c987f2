-- Reading methods of zerg.conn. All follow one pattern: ask C; when it says PARK, yield and ask
-- again.
--
-- This is the hot path of every handler, and written for the compiler, as are the other modules
-- that say so: no loop (a script's own loop is not compiled around another one; what must be asked
-- again calls itself), few tail calls in what succeeds (15 end a trace), no closures, no varargs.

local bytes = require("zerg.bytes")
local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local reader = require("zerg.reader")
local stream = require("zerg.stream")
local zffi = require("zerg.ffi")

local C = zffi.C
local fail, fail_parked, park = outcome.fail, outcome.fail_parked, park_module.park
local time_out = outcome.time_out
local seq_t, view_t = zffi.seq_t, zffi.view_t
local OK, PARK, END, RANGE = C.ZERG_OK, C.ZERG_PARK, C.ZERG_END, C.ZERG_RANGE
local TIMEOUT = C.ZERG_WAKE_TIMEOUT
local UINT32_MAX = 4294967295

---@class zerg.conn
local methods = {}

local function wait_parked(self)
  if park() == TIMEOUT then
    return time_out(self)
  end
  local rc = C.zerg_conn_want(self, 1)
  if rc == OK then
    return true
  elseif rc == PARK then
    return wait_parked(self)
  end
  return fail_parked(self, "conn:wait", rc)
end

---Parks until unread bytes are there.
---@return true|nil ok
---@return string|nil reason
function methods.wait(self)
  local rc = C.zerg_conn_want(self, 1)
  if rc == OK then
    return true
  elseif rc == PARK then
    return wait_parked(self)
  end
  return fail(self, "conn:wait", rc)
end

---The next received piece, one per kernel buffer, or nil when none is there. Does not park.
---@return zerg.view|nil
function methods.next_view(self)
  local view = view_t()
  local rc = C.zerg_conn_next_view(self, view)
  if rc == OK then
    return view
  elseif rc == END then
    return nil
  end
  return fail(self, "conn:next_view", rc)
end

---Iterates over next_view(). Does not park.
---@return fun(conn: zerg.conn): zerg.view|nil
---@return zerg.conn
function methods.views(self)
  return methods.next_view, self
end

local function read_parked(self, seq)
  if park() == TIMEOUT then
    return time_out(self)
  end
  local rc = C.zerg_conn_read(self, seq)
  if rc == OK then
    return seq
  elseif rc == PARK then
    return read_parked(self, seq)
  end
  return fail_parked(self, "conn:read", rc)
end

---All bytes received so far, parking until there are some. They are consumed, and borrowed until
---the next wait, read or peek.
---@return zerg.seq|nil seq
---@return string|nil reason
function methods.read(self)
  local seq = seq_t()
  local rc = C.zerg_conn_read(self, seq)
  if rc == OK then
    return seq
  elseif rc == PARK then
    return read_parked(self, seq)
  end
  return fail(self, "conn:read", rc)
end

---Iterates over read(): ends at the end of the stream (or a time-out); the reason is then in
---conn.reason. Each step may park.
---@return fun(conn: zerg.conn): zerg.seq|nil, string|nil
---@return zerg.conn
function methods.reads(self)
  return methods.read, self
end

local function peek_parked(self, n, seq)
  if park() == TIMEOUT then
    return nil, "timeout"
  end
  local rc = C.zerg_conn_peek(self, n, seq)
  if rc == OK then
    return seq
  elseif rc == PARK then
    return peek_parked(self, n, seq)
  end
  return fail_parked(self, "conn:peek", rc)
end

---All unread bytes, parking until at least n are there. Nothing is consumed.
---@param n? integer 1 by default
---@return zerg.seq|nil seq
---@return string|nil reason
function methods.peek(self, n)
  n = n or 1
  if not bytes.is_count(n, 1, UINT32_MAX) then
    return bytes.misuse("conn:peek", "a count of bytes", n)
  end
  local seq = seq_t()
  local rc = C.zerg_conn_peek(self, n, seq)
  if rc == OK then
    return seq
  elseif rc == PARK then
    return peek_parked(self, n, seq)
  elseif rc == RANGE then
    return nil, "limit"
  end
  return fail(self, "conn:peek", rc)
end

---The pipe adapter: parse in place, consume what was understood.
---@param opts? zerg.reader.options
---@return zerg.reader
function methods.reader(self, opts)
  if not self then
    error("conn:reader: " .. outcome.NO_SELF, 2)
  elseif opts ~= nil and type(opts) ~= "table" then
    return bytes.misuse("conn:reader", "a table of options", opts)
  end
  return reader.new(self, opts)
end

---The file-like adapter.
---@param opts? zerg.stream.options
---@return zerg.stream
function methods.stream(self, opts)
  if not self then
    error("conn:stream: " .. outcome.NO_SELF, 2)
  elseif opts ~= nil and type(opts) ~= "table" then
    return bytes.misuse("conn:stream", "a table of options", opts)
  end
  return stream.new(self, opts)
end

return methods
