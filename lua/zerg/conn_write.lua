-- Writing methods of zerg.conn. Bytes are staged in the connection's write slab by C and sent by
-- themselves when the coroutine parks or ends; a call parks only when more than write_buffer_max is
-- staged, after all of its values are. Written for the compiler, see conn_read.lua.

local bytes = require("zerg.bytes")
local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local fail, fail_parked, park = outcome.fail, outcome.fail_parked, park_module.park
local istype = ffi.istype
local seq_t, view_t = zffi.seq_t, zffi.view_t
local int64_t, uint64_t = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local OK, PARK, FULL = C.ZERG_OK, C.ZERG_PARK, C.ZERG_FULL
local RELEASED, RANGE = C.ZERG_RELEASED, C.ZERG_RANGE
local TIMEOUT = C.ZERG_WAKE_TIMEOUT

local RESERVE_BYTES_MAX = 65536
local UINT32_MAX = 4294967295
local WRITABLE = "strings, numbers, views, sequences or (cdata, length)"

-- Results of staging besides those of C.
local STRANGE = -100
local LENGTH = 1000

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

-- True for a pointer or array that is no view or sequence, with its length.
local function is_pointer_pair(value, len)
  return type(value) == "cdata" and bytes.is_number(len, 0, UINT32_MAX)
    and not istype(seq_t, value) and not istype(view_t, value)
    and not istype(int64_t, value) and not istype(uint64_t, value) and value ~= nil
end

-- Stages `len` bytes at a pointer or array. nil: they are none.
local function stage_cdata(self, value, len)
  if not is_pointer_pair(value, len) then
    return nil
  end
  local rc = C.zerg_conn_write(self, value, len)
  return rc
end

local function wait_room_parked(self, method)
  if park() == TIMEOUT then
    return nil, "timeout"
  end
  local rc = C.zerg_conn_wait_room(self)
  if rc == OK then
    return self
  elseif rc == PARK then
    return wait_room_parked(self, method)
  end
  return fail_parked(self, method, rc)
end

-- Parks until no more than write_buffer_max is staged. For a tail call.
local function wait_room(self, method)
  local rc = C.zerg_conn_wait_room(self)
  if rc == OK then
    return self
  elseif rc == PARK then
    return wait_room_parked(self, method)
  end
  return fail(self, method, rc)
end

local function flush_parked(self, method)
  if park() == TIMEOUT then
    return nil, "timeout"
  end
  local rc = C.zerg_conn_flush(self)
  if rc == OK then
    return true
  elseif rc == PARK then
    return flush_parked(self, method)
  end
  return fail_parked(self, method, rc)
end

-- Parks until nothing is staged. For a tail call.
local function flush(self, method)
  local rc = C.zerg_conn_flush(self)
  if rc == OK then
    return true
  elseif rc == PARK then
    return flush_parked(self, method)
  end
  return fail(self, method, rc)
end

-- Stages `value` after others; `result` is what came of those: OK, FULL, or an error, which stays.
-- LENGTH on top of it: value is the length of the pointer before it, which was staged with it. A
-- nil with a value behind it is STRANGE.
local function stage_next(self, result, value, following)
  if result < OK then
    return result
  elseif value == nil then
    return following == nil and result or STRANGE
  elseif result >= LENGTH then
    return result - LENGTH
  end
  local rc = stage(self, value)
  if rc == nil then
    rc = stage_cdata(self, value, following)
    if rc == nil then
      return STRANGE
    elseif rc >= OK then
      return (rc == FULL and FULL or result) + LENGTH
    end
  end
  return rc == OK and result or rc
end

-- Written out, because the compiler gives up on a loop over `...`.
local function stage_eight(self, a, b, c, d, e, f, g, h)
  local result = stage_next(self, OK, a, b)
  result = stage_next(self, result, b, c)
  result = stage_next(self, result, c, d)
  if d ~= nil or e ~= nil then
    result = stage_next(self, result, d, e)
    result = stage_next(self, result, e, f)
    result = stage_next(self, result, f, g)
    result = stage_next(self, result, g, h)
    result = stage_next(self, result, h, nil)
  end
  return result
end

local function stage_all(self, ...)
  local values, result = { ... }, OK
  for index = 1, select("#", ...) do
    result = stage_next(self, result, values[index], values[index + 1])
  end
  return result
end

local function is_writable(value)
  local kind = type(value)
  return kind == "string" or kind == "number" or istype(seq_t, value) or istype(view_t, value)
end

-- Raises for the first of the values that cannot be written. For a tail call.
local function refuse(method, ...)
  local values, index = { ... }, 1
  while index <= select("#", ...) do
    local value = values[index]
    if is_pointer_pair(value, values[index + 1]) then
      index = index + 1
    elseif not is_writable(value) then
      return bytes.misuse(method, WRITABLE, value)
    end
    index = index + 1
  end
  return bytes.misuse(method, WRITABLE, nil)
end

---Stages strings, numbers, views, sequences, or pointers each followed by its length. Parks only
---when more than write_buffer_max is staged.
---@param ... string|number|zerg.view|zerg.seq|ffi.cdata*
---@return zerg.conn|nil conn itself
---@return string|nil reason
function methods.write(self, a, b, c, d, e, f, g, h, ...)
  local rc
  if b == nil and c == nil then
    rc = stage(self, a) or STRANGE
  elseif h ~= nil and select("#", ...) > 0 then
    rc = stage_all(self, a, b, c, d, e, f, g, h, ...)
  else
    rc = stage_eight(self, a, b, c, d, e, f, g, h)
  end
  if rc == OK then
    return self
  elseif rc == FULL then
    return wait_room(self, "conn:write")
  elseif rc == STRANGE then
    return refuse("conn:write", a, b, c, d, e, f, g, h, ...)
  end
  return fail(self, "conn:write", rc)
end

---write() and then flush().
---@param ... string|number|zerg.view|zerg.seq|ffi.cdata*
---@return true|nil ok
---@return string|nil reason
function methods.send(self, a, b, c, d, e, f, g, h, ...)
  local rc
  if h ~= nil and select("#", ...) > 0 then
    rc = stage_all(self, a, b, c, d, e, f, g, h, ...)
  else
    rc = a == nil and STRANGE or stage_eight(self, a, b, c, d, e, f, g, h)
  end
  if rc == OK or rc == FULL then
    return flush(self, "conn:send")
  elseif rc == STRANGE then
    return refuse("conn:send", a, b, c, d, e, f, g, h, ...)
  end
  return fail(self, "conn:send", rc)
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
