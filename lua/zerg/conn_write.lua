-- Writing methods of zerg.conn. Bytes are staged in the connection's write slab by C and sent by
-- themselves when the coroutine parks or ends; a call parks only when more than write_buffer_max is
-- staged, after all of its values are. A call checks all of its values before it stages any, so
-- that misuse leaves no half of a message behind; compiled code makes each check of a type once.
-- Written for the compiler, see conn_read.lua.

local bytes = require("zerg.bytes")
local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local fail, fail_parked, park = outcome.fail, outcome.fail_parked, park_module.park
local istype = ffi.istype
local seq_holds, view_holds = bytes.seq_holds, bytes.view_holds
local seq_t, view_t = zffi.seq_t, zffi.view_t
local int64_t, uint64_t = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local OK, PARK, FULL = C.ZERG_OK, C.ZERG_PARK, C.ZERG_FULL
local RELEASED, RANGE = C.ZERG_RELEASED, C.ZERG_RANGE
local TIMEOUT = C.ZERG_WAKE_TIMEOUT

local RESERVE_BYTES_MAX = 65536
local UINT32_MAX = 4294967295
local WRITABLE = "strings, numbers, views, sequences or (cdata, length)"

-- Results besides those of C. STRANGE: one of the values cannot be written. GAP: a nil came, so no
-- value may come any more. LENGTH: the next value is the length of the pointer before it.
local STRANGE = -100
local GAP = 999
local LENGTH = 1000

local reserved = ffi.new("uint8_t *[1]")

local M = {}

---@class zerg.conn
local methods = {}

M.methods = methods

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
    if not view_holds(value) then
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

local function wait_room_parked(self, method, result)
  if park() == TIMEOUT then
    return nil, "timeout"
  end
  local rc = C.zerg_conn_wait_room(self)
  if rc == OK then
    return result
  elseif rc == PARK then
    return wait_room_parked(self, method, result)
  end
  return fail_parked(self, method, rc)
end

-- Parks until no more than write_buffer_max is staged, and gives `result`. For a tail call.
local function wait_room(self, method, result)
  local rc = C.zerg_conn_wait_room(self)
  if rc == OK then
    return result
  elseif rc == PARK then
    return wait_room_parked(self, method, result)
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

---Parks until nothing is staged. For a tail call from the method that is named.
---@param self zerg.conn
---@param method string
---@return true|nil ok
---@return string|nil reason
function M.flush(self, method)
  local rc = C.zerg_conn_flush(self)
  if rc == OK then
    return true
  elseif rc == PARK then
    return flush_parked(self, method)
  end
  return fail(self, method, rc)
end

-- Checks `value` after others; `result` is what came of those: OK, LENGTH, GAP, or an error, which
-- stays.
local function check_next(result, value, following)
  local kind = type(value)
  if result == LENGTH then
    return OK
  elseif kind == "nil" then
    return result == OK and GAP or result
  elseif result ~= OK then
    return result == GAP and STRANGE or result
  elseif kind == "string" or kind == "number" then
    return OK
  elseif istype(seq_t, value) then
    return seq_holds(value) and OK or RELEASED
  elseif istype(view_t, value) then
    return view_holds(value) and OK or RELEASED
  end
  return is_pointer_pair(value, following) and LENGTH or STRANGE
end

-- Stages `value`, which was checked, after others; `result` is what came of those: OK, FULL, or an
-- error, which stays. LENGTH on top of it: value is the length of the pointer before it, which is
-- staged already.
local function stage_next(self, result, value, following)
  if result < OK or value == nil then
    return result
  elseif result >= LENGTH then
    return result - LENGTH
  end
  local rc = stage(self, value)
  if rc == nil then
    rc = C.zerg_conn_write(self, value, following)
    if rc >= OK then
      return (rc == FULL and FULL or result) + LENGTH
    end
  end
  return rc == OK and result or rc
end

-- These two are written out, because the compiler gives up on a loop over `...`.
local function check_eight(a, b, c, d, e, f, g, h)
  local result = check_next(OK, a, b)
  result = check_next(result, b, c)
  result = check_next(result, c, d)
  result = check_next(result, d, e)
  if e ~= nil or f ~= nil or g ~= nil or h ~= nil then
    result = check_next(result, e, f)
    result = check_next(result, f, g)
    result = check_next(result, g, h)
    result = check_next(result, h, nil)
  end
  return result
end

local function stage_eight(self, a, b, c, d, e, f, g, h)
  local result = check_eight(a, b, c, d, e, f, g, h)
  if result < OK then
    return result
  end
  result = stage_next(self, OK, a, b)
  result = stage_next(self, result, b, c)
  result = stage_next(self, result, c, d)
  result = stage_next(self, result, d, e)
  if e ~= nil then
    result = stage_next(self, result, e, f)
    result = stage_next(self, result, f, g)
    result = stage_next(self, result, g, h)
    result = stage_next(self, result, h, nil)
  end
  return result
end

local function stage_few(self, a, b, c, d, e, f, g, h)
  if b == nil and c == nil and d == nil and e == nil and f == nil and g == nil and h == nil then
    return stage(self, a) or STRANGE
  end
  return stage_eight(self, a, b, c, d, e, f, g, h)
end

local function stage_all(self, ...)
  local values, count, result = { ... }, select("#", ...), OK
  for index = 1, count do
    result = check_next(result, values[index], values[index + 1])
  end
  if result < OK then
    return result
  end
  result = OK
  for index = 1, count do
    result = stage_next(self, result, values[index], values[index + 1])
  end
  return result
end

-- Raises for the first of the values that cannot be written: one of a wrong type, or a nil with
-- values behind it. For a tail call.
local function refuse(method, ...)
  local values, result, index = { ... }, OK, 0
  repeat
    index = index + 1
    result = check_next(result, values[index], values[index + 1])
  until result == STRANGE or result == GAP or index > select("#", ...)
  return bytes.misuse(("%s: value %d"):format(method, index), WRITABLE, values[index])
end

-- What a method that stages gives for the result of that. For a tail call.
local function finish_staging(self, method, rc, result)
  if rc == OK then
    return result
  elseif rc == FULL then
    return wait_room(self, method, result)
  end
  return fail(self, method, rc)
end

---conn:write under another name, for a method that gives `result` where conn:write gives the
---connection. For a tail call from that method.
---@param method string "stream:write"
---@param result any
---@param self zerg.conn
---@param ... string|number|zerg.view|zerg.seq|ffi.cdata*
---@return any|nil result
---@return string|nil reason
function M.write_as(method, result, self, a, b, c, d, e, f, g, h, ...)
  local rc
  if select("#", ...) > 0 then
    rc = stage_all(self, a, b, c, d, e, f, g, h, ...)
  else
    rc = stage_few(self, a, b, c, d, e, f, g, h)
  end
  if rc == STRANGE then
    return refuse(method, a, b, c, d, e, f, g, h, ...)
  end
  return finish_staging(self, method, rc, result)
end

---Stages strings, numbers, views, sequences, or pointers each followed by its length. Parks only
---when more than write_buffer_max is staged.
---@param ... string|number|zerg.view|zerg.seq|ffi.cdata*
---@return zerg.conn|nil conn itself
---@return string|nil reason
function methods.write(self, a, b, c, d, e, f, g, h, ...)
  local rc
  if select("#", ...) > 0 then
    rc = stage_all(self, a, b, c, d, e, f, g, h, ...)
  else
    rc = stage_few(self, a, b, c, d, e, f, g, h)
  end
  if rc == OK then
    return self
  elseif rc == STRANGE then
    return refuse("conn:write", a, b, c, d, e, f, g, h, ...)
  end
  return finish_staging(self, "conn:write", rc, self)
end

---write() and then flush().
---@param ... string|number|zerg.view|zerg.seq|ffi.cdata*
---@return true|nil ok
---@return string|nil reason
function methods.send(self, a, b, c, d, e, f, g, h, ...)
  local rc
  if select("#", ...) > 0 then
    rc = stage_all(self, a, b, c, d, e, f, g, h, ...)
  else
    rc = stage_few(self, a, b, c, d, e, f, g, h)
  end
  if rc == OK or rc == FULL then
    return M.flush(self, "conn:send")
  elseif rc == STRANGE then
    return refuse("conn:send", a, b, c, d, e, f, g, h, ...)
  end
  return fail(self, "conn:send", rc)
end

---Parks until everything staged is with the kernel.
---@return true|nil ok
---@return string|nil reason
function methods.flush(self)
  return M.flush(self, "conn:flush")
end

---Room for n bytes in the write slab, to be written there by the script and staged by commit().
---Valid until the next write, reserve or call that parks.
---@param n integer 1 to 65536
---@return ffi.cdata*|nil pointer `uint8_t *`
---@return string|nil reason
function methods.reserve(self, n)
  if not bytes.is_count(n, 1, RESERVE_BYTES_MAX) then
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
  if not bytes.is_count(n, 0, RESERVE_BYTES_MAX) then
    return bytes.misuse("conn:commit", "0 to 65536 bytes", n)
  end
  local rc = C.zerg_conn_commit(self, n)
  if rc == RANGE then
    return bytes.misuse("conn:commit", "at most what conn:reserve gave", n)
  end
  return finish_staging(self, "conn:commit", rc, self)
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
  if not self then
    error("conn:close: " .. outcome.NO_SELF, 2)
  elseif self._is_http ~= 0 then
    return outcome.fail(self, "conn:close", C.ZERG_HTTP)
  end
  C.zerg_conn_close(self)
end

---Resets the connection: staged bytes are dropped. Does not park; aborting twice does nothing.
function methods.abort(self)
  if not self then
    error("conn:abort: " .. outcome.NO_SELF, 2)
  elseif self._is_http ~= 0 then
    return outcome.fail(self, "conn:abort", C.ZERG_HTTP)
  end
  C.zerg_conn_abort(self)
end

return M
