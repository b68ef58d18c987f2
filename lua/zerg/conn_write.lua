-- Writing methods of zerg.conn. Bytes are staged in the connection's write slab by C and sent by
-- themselves when the coroutine parks or ends; a call parks only when more than write_buffer_max is
-- staged, after all of its values are.

local bytes = require("zerg.bytes")
local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local fail, park = outcome.fail, park_module.park
local istype = ffi.istype
local seq_t, view_t = zffi.seq_t, zffi.view_t
local int64_t, uint64_t = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local OK, PARK, FULL = C.ZERG_OK, C.ZERG_PARK, C.ZERG_FULL
local RELEASED, RANGE = C.ZERG_RELEASED, C.ZERG_RANGE
local TIMEOUT = C.ZERG_WAKE_TIMEOUT

local RESERVE_BYTES_MAX = 65536
local UINT32_MAX = 4294967295
local WRITABLE = "strings, numbers, views, sequences or (cdata, length)"

local reserved = ffi.new("uint8_t *[1]")

---@class zerg.conn
local methods = {}

-- Stages one value that needs no length. nil: it is none of these.
local function stage(self, value)
  local kind = type(value)
  if kind == "string" then
    return C.zerg_conn_write(self, value, #value)
  elseif kind == "number" then
    local text = tostring(value)
    return C.zerg_conn_write(self, text, #text)
  elseif istype(seq_t, value) then
    return C.zerg_conn_write_seq(self, value)
  elseif istype(view_t, value) then
    local lease = value._lease
    if lease == nil or lease.generation ~= value._generation then
      return RELEASED
    end
    return C.zerg_conn_write(self, value._data, value._len)
  end
  return nil
end

-- Stages `len` bytes at a pointer or array. nil: they are none.
local function stage_cdata(self, value, len)
  if type(value) ~= "cdata" or not bytes.is_number(len, 0, UINT32_MAX) then
    return nil
  elseif istype(int64_t, value) or istype(uint64_t, value) or value == nil then
    return nil
  end
  return C.zerg_conn_write(self, value, len)
end

-- Parks until no more than write_buffer_max is staged. For a tail call.
local function wait_room(self, method)
  local rc = C.zerg_conn_wait_room(self)
  while rc == PARK do
    if park() == TIMEOUT then
      return nil, "timeout"
    end
    rc = C.zerg_conn_wait_room(self)
  end
  if rc == OK then
    return self
  end
  return fail(self, method, rc)
end

-- Parks until nothing is staged. For a tail call.
local function flush(self, method)
  local rc = C.zerg_conn_flush(self)
  while rc == PARK do
    if park() == TIMEOUT then
      return nil, "timeout"
    end
    rc = C.zerg_conn_flush(self)
  end
  if rc == OK then
    return true
  end
  return fail(self, method, rc)
end

local function finish_write(self, full)
  if full then
    return wait_room(self, "conn:write")
  end
  return self
end

local function finish_send(self)
  return flush(self, "conn:send")
end

-- Stages `a` and goes on with the others, moved down by one, or by two after a pointer and its
-- length. It calls itself in tail position because the compiler unrolls that, while it gives up on
-- a loop over `...`. A nil between two values ends up in `a` and is misuse.
local function write_each(self, method, finish, full, a, b, c, d, e, f, g, h)
  local rc = stage(self, a)
  if rc == nil then
    rc = stage_cdata(self, a, b)
    b, c, d, e, f, g, h = c, d, e, f, g, h, nil
  end
  if rc == nil then
    return bytes.misuse(method, WRITABLE, a)
  elseif rc < OK then
    return fail(self, method, rc)
  end
  full = full or rc == FULL
  if b ~= nil or c ~= nil then
    return write_each(self, method, finish, full, b, c, d, e, f, g, h)
  end
  return finish(self, full)
end

-- More than eight values. For a tail call.
local function write_many(self, method, finish, ...)
  local values, count = { ... }, select("#", ...)
  local at, full = 1, false
  while at <= count do
    local rc = stage(self, values[at])
    if rc == nil then
      rc = stage_cdata(self, values[at], values[at + 1])
      at = at + 1
    end
    if rc == nil then
      return bytes.misuse(method, WRITABLE, values[at - 1])
    elseif rc < OK then
      return fail(self, method, rc)
    end
    full = full or rc == FULL
    at = at + 1
  end
  return finish(self, full)
end

---Stages strings, numbers, views, sequences, or pointers each followed by its length. Parks only
---when more than write_buffer_max is staged.
---@param ... string|number|zerg.view|zerg.seq|ffi.cdata*
---@return zerg.conn|nil conn itself
---@return string|nil reason
function methods.write(self, a, b, c, d, e, f, g, h, ...)
  if h ~= nil and select("#", ...) > 0 then
    return write_many(self, "conn:write", finish_write, a, b, c, d, e, f, g, h, ...)
  elseif b ~= nil or c ~= nil then
    return write_each(self, "conn:write", finish_write, false, a, b, c, d, e, f, g, h)
  end
  local rc = stage(self, a)
  if rc == OK then
    return self
  elseif rc == FULL then
    return wait_room(self, "conn:write")
  elseif rc == nil then
    return bytes.misuse("conn:write", WRITABLE, a)
  end
  return fail(self, "conn:write", rc)
end

---write() and then flush().
---@param ... string|number|zerg.view|zerg.seq|ffi.cdata*
---@return true|nil ok
---@return string|nil reason
function methods.send(self, a, b, c, d, e, f, g, h, ...)
  if h ~= nil and select("#", ...) > 0 then
    return write_many(self, "conn:send", finish_send, a, b, c, d, e, f, g, h, ...)
  end
  return write_each(self, "conn:send", finish_send, false, a, b, c, d, e, f, g, h)
end

---Parks until everything staged is with the kernel.
---@return true|nil ok
---@return string|nil reason
function methods.flush(self)
  return flush(self, "conn:flush")
end

---Room for n bytes in the write slab, to be written there by the script and staged by commit().
---Valid until the next write, reserve or call that parks.
---@param n integer 1 to 65536
---@return ffi.cdata*|nil pointer `uint8_t *`
---@return string|nil reason
function methods.reserve(self, n)
  if not bytes.is_number(n, 1, RESERVE_BYTES_MAX) then
    return bytes.misuse("conn:reserve", "1 to 65536 bytes", n)
  end
  local rc = C.zerg_conn_reserve(self, n, reserved)
  if rc == OK then
    return reserved[0]
  end
  return fail(self, "conn:reserve", rc)
end

---Stages the first n bytes of what reserve() gave. Parks only when more than write_buffer_max is
---staged.
---@param n integer at most what was reserved
---@return zerg.conn|nil conn itself
---@return string|nil reason
function methods.commit(self, n)
  if not bytes.is_number(n, 0, RESERVE_BYTES_MAX) then
    return bytes.misuse("conn:commit", "0 to 65536 bytes", n)
  end
  local rc = C.zerg_conn_commit(self, n)
  if rc == OK then
    return self
  elseif rc == FULL then
    return wait_room(self, "conn:commit")
  elseif rc == RANGE then
    return bytes.misuse("conn:commit", "at most what conn:reserve gave", n)
  end
  return fail(self, "conn:commit", rc)
end

---Half-closes after what is staged: the peer sees the end, reading goes on. Does not park.
---@return true|nil ok
---@return string|nil reason
function methods.shutdown(self)
  local rc = C.zerg_conn_shutdown(self)
  if rc == OK then
    return true
  end
  return fail(self, "conn:shutdown", rc)
end

---Closes after what is staged. Does not park; closing twice does nothing.
function methods.close(self)
  C.zerg_conn_close(self)
end

---Resets the connection: staged bytes are dropped. Does not park; aborting twice does nothing.
function methods.abort(self)
  C.zerg_conn_abort(self)
end

return methods
