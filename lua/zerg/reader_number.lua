-- Numbers read from a connection: integers and floats in network order and little-endian, without a
-- copy or a string. Every one is C.zerg_conn_front (look), decode, C.zerg_conn_skip (consume).
-- Written for the compiler, see conn_read.lua.

local wait = require("zerg.reader_wait")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local want, refuse = wait.want, wait.refuse
local OK = C.ZERG_OK

local int64_t, uint64_t = ffi.typeof("int64_t"), ffi.typeof("uint64_t")

-- Bits of a float or double on their way from integers.
local bits = ffi.new("union { uint32_t u32; float f32; uint64_t u64; double f64; }")

---@class zerg.reader
local methods = {}

local function u16be(p)
  return p[0] * 256 + p[1]
end

local function u16le(p)
  return p[1] * 256 + p[0]
end

local function u32be(p)
  return ((p[0] * 256 + p[1]) * 256 + p[2]) * 256 + p[3]
end

local function u32le(p)
  return ((p[3] * 256 + p[2]) * 256 + p[1]) * 256 + p[0]
end

local function u64be(p)
  return ffi.cast(uint64_t, u32be(p)) * 4294967296ULL + ffi.cast(uint64_t, u32be(p + 4))
end

local function u64le(p)
  return ffi.cast(uint64_t, u32le(p + 4)) * 4294967296ULL + ffi.cast(uint64_t, u32le(p))
end

local function signed8(value)
  return value >= 0x80 and value - 0x100 or value
end

local function signed16(value)
  return value >= 0x8000 and value - 0x10000 or value
end

local function signed32(value)
  return value >= 0x80000000 and value - 0x100000000 or value
end

local function signed64(value)
  return ffi.cast(int64_t, value)
end

local function float32(value)
  bits.u32 = value
  return tonumber(bits.f32)
end

local function float64(value)
  bits.u64 = value
  return tonumber(bits.f64)
end

-- Where the next `count` <= 8 unread bytes are, or nil and the reason. Parks. Errors are the fault
-- of the caller of the method (level 3).
local function front(self, method, count)
  if self._completed then
    error(method .. ": used after complete", 3)
  end
  if not self._canceled then
    local at = C.zerg_conn_front(self._conn, count)
    if at ~= nil then
      return at
    end
  end
  local rc, reason = want(self, count)
  if rc == OK then
    local at = C.zerg_conn_front(self._conn, count)
    return at
  end
  return refuse(self, method, rc, reason, 3)
end

-- Consumes what front() gave.
local function consume(self, count)
  self._examined = 0
  self._given = 0
  C.zerg_conn_skip(self._conn, count)
end

-- The methods are written out, not made by a generator: closures of one prototype would share their
-- traces, and each of these is the hot path of some binary protocol.

---The next byte. Parks, as all of these do; at the end of the stream fewer bytes than needed stay
---unread.
---@return integer|nil
---@return string|nil reason
function methods.u8(self)
  local p, reason = front(self, "reader:u8", 1)
  if p == nil then
    return nil, reason
  end
  local value = p[0]
  consume(self, 1)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.i8(self)
  local p, reason = front(self, "reader:i8", 1)
  if p == nil then
    return nil, reason
  end
  local value = signed8(p[0])
  consume(self, 1)
  return value
end

---A big-endian integer, and so on; the names that end in le are little-endian.
---@return integer|nil
---@return string|nil reason
function methods.u16(self)
  local p, reason = front(self, "reader:u16", 2)
  if p == nil then
    return nil, reason
  end
  local value = u16be(p)
  consume(self, 2)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.u16le(self)
  local p, reason = front(self, "reader:u16le", 2)
  if p == nil then
    return nil, reason
  end
  local value = u16le(p)
  consume(self, 2)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.i16(self)
  local p, reason = front(self, "reader:i16", 2)
  if p == nil then
    return nil, reason
  end
  local value = signed16(u16be(p))
  consume(self, 2)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.i16le(self)
  local p, reason = front(self, "reader:i16le", 2)
  if p == nil then
    return nil, reason
  end
  local value = signed16(u16le(p))
  consume(self, 2)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.u32(self)
  local p, reason = front(self, "reader:u32", 4)
  if p == nil then
    return nil, reason
  end
  local value = u32be(p)
  consume(self, 4)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.u32le(self)
  local p, reason = front(self, "reader:u32le", 4)
  if p == nil then
    return nil, reason
  end
  local value = u32le(p)
  consume(self, 4)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.i32(self)
  local p, reason = front(self, "reader:i32", 4)
  if p == nil then
    return nil, reason
  end
  local value = signed32(u32be(p))
  consume(self, 4)
  return value
end

---@return integer|nil
---@return string|nil reason
function methods.i32le(self)
  local p, reason = front(self, "reader:i32le", 4)
  if p == nil then
    return nil, reason
  end
  local value = signed32(u32le(p))
  consume(self, 4)
  return value
end

---64-bit integers come as cdata (`uint64_t`, `int64_t`): a Lua number holds only 53 bits.
---@return ffi.cdata*|nil
---@return string|nil reason
function methods.u64(self)
  local p, reason = front(self, "reader:u64", 8)
  if p == nil then
    return nil, reason
  end
  local value = u64be(p)
  consume(self, 8)
  return value
end

---@return ffi.cdata*|nil
---@return string|nil reason
function methods.u64le(self)
  local p, reason = front(self, "reader:u64le", 8)
  if p == nil then
    return nil, reason
  end
  local value = u64le(p)
  consume(self, 8)
  return value
end

---@return ffi.cdata*|nil
---@return string|nil reason
function methods.i64(self)
  local p, reason = front(self, "reader:i64", 8)
  if p == nil then
    return nil, reason
  end
  local value = signed64(u64be(p))
  consume(self, 8)
  return value
end

---@return ffi.cdata*|nil
---@return string|nil reason
function methods.i64le(self)
  local p, reason = front(self, "reader:i64le", 8)
  if p == nil then
    return nil, reason
  end
  local value = signed64(u64le(p))
  consume(self, 8)
  return value
end

---IEEE 754, as a Lua number.
---@return number|nil
---@return string|nil reason
function methods.f32(self)
  local p, reason = front(self, "reader:f32", 4)
  if p == nil then
    return nil, reason
  end
  local value = float32(u32be(p))
  consume(self, 4)
  return value
end

---@return number|nil
---@return string|nil reason
function methods.f32le(self)
  local p, reason = front(self, "reader:f32le", 4)
  if p == nil then
    return nil, reason
  end
  local value = float32(u32le(p))
  consume(self, 4)
  return value
end

---@return number|nil
---@return string|nil reason
function methods.f64(self)
  local p, reason = front(self, "reader:f64", 8)
  if p == nil then
    return nil, reason
  end
  local value = float64(u64be(p))
  consume(self, 8)
  return value
end

---@return number|nil
---@return string|nil reason
function methods.f64le(self)
  local p, reason = front(self, "reader:f64le", 8)
  if p == nil then
    return nil, reason
  end
  local value = float64(u64le(p))
  consume(self, 8)
  return value
end

return methods
