-- zerg.view: one received piece, in place in the reactor's buffers. A view is borrowed: it is valid
-- until its release, or until the next wait/read/peek on its connection. Every use compares the
-- lease's generation first, so a view that was kept too long raises and never reads foreign bytes.

local bytes = require("zerg.bytes")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local ffi_string = ffi.string
local holds, misuse, range = bytes.view_holds, bytes.misuse, bytes.range
local OK, NO_MEMORY = C.ZERG_OK, C.ZERG_NO_MEMORY

local byte_ptr = ffi.typeof("const uint8_t *")

---One received piece, borrowed until release() or the next wait/read/peek on its connection.
---`#view` is its length, tostring(view) its bytes; `==` and `..` work with strings, views and
---sequences.
---@class zerg.view
---@field ptr ffi.cdata* `const uint8_t *` to its first byte
---@field len integer its length in bytes
---@operator len: integer
---@operator concat(string|number|zerg.view|zerg.seq): string
local methods = {}
local getters = {}

-- Level 3: the function that called the method.
local function check(self)
  if not holds(self) then
    error(bytes.RELEASED, 3)
  end
end

-- Level 4: the function that reads the field, through the metamethod.
local function check_field(self)
  if not holds(self) then
    error(bytes.RELEASED, 4)
  end
end

function getters.ptr(self)
  check_field(self)
  return self._data
end

function getters.len(self)
  check_field(self)
  return self._len
end

---The part from i to j as a string, counted like string.sub.
---@param i integer
---@param j? integer -1 by default
---@return string
function methods.sub(self, i, j)
  check(self)
  j = j or -1
  if type(i) ~= "number" then
    return misuse("view:sub", "a position", i)
  elseif type(j) ~= "number" then
    return misuse("view:sub", "a second position", j)
  end
  local from, count = range(i, j, self._len)
  local text = ffi_string(self._data + from, count)
  return text
end

---The byte at i; with j, the bytes from i to j, like string.byte.
---@param i? integer 1 by default
---@param j? integer i by default
---@return integer|nil ... nil when i is outside
function methods.byte(self, i, j)
  check(self)
  i = i or 1
  if type(i) ~= "number" then
    return misuse("view:byte", "a position", i)
  end
  if j then
    return methods.sub(self, i, j):byte(1, -1)
  end
  local len = self._len
  if i < 0 then
    i = len + i + 1
  end
  if i >= 1 and i <= len then
    return self._data[i - 1]
  end
  return nil
end

---Where the string `s` is first found at or after init (no patterns), like string.find.
---@param s string
---@param init? integer 1 by default
---@return integer|nil first
---@return integer|nil last
function methods.find(self, s, init)
  check(self)
  init = init or 1
  if type(s) ~= "string" then
    return misuse("view:find", "a string", s)
  elseif type(init) ~= "number" then
    return misuse("view:find", "a position", init)
  end
  local len = self._len
  if s == "" then
    return bytes.find_empty(init, len)
  elseif init > len then
    return nil
  end
  local from = range(init, -1, len)
  local base = self._data
  local hit = C.memmem(base + from, len - from, s, #s)
  if hit == nil then
    return nil
  end
  local at = ffi.cast(byte_ptr, hit) - base
  return at + 1, at + #s
end

---Keeps the view past the next wait/read/peek, until its own release() (or its collection).
---@return zerg.view|nil view itself
---@return string|nil reason "limit: ..."
function methods.retain(self)
  check(self)
  local rc = C.zerg_view_retain(self)
  if rc == OK then
    return ffi.gc(self, C.zerg_view_release)
  elseif rc == NO_MEMORY then
    return nil, "limit: out of memory"
  end
  error(bytes.RELEASED, 2)
end

---Gives the buffer back to the kernel now. Releasing twice does nothing.
function methods.release(self)
  C.zerg_view_release(ffi.gc(self, nil))
end

local metatable = {
  __name = "zerg.view",
  __eq = bytes.equal,
  __concat = bytes.concat,
}

function metatable.__index(self, key)
  local method = methods[key]
  if method then
    return method
  end
  local getter = getters[key]
  if getter then
    local value = getter(self)
    return value
  end
  error("view has no field '" .. tostring(key) .. "'", 2)
end

function metatable.__newindex(_, key)
  error("view." .. tostring(key) .. " cannot be set", 2)
end

function metatable.__len(self)
  check(self)
  return self._len
end

function metatable.__tostring(self)
  check(self)
  return ffi_string(self._data, self._len)
end

local function next_byte(self, index)
  if not holds(self) then
    error(bytes.RELEASED, 2)
  elseif index < self._len then
    return index + 1, self._data[index]
  end
  return nil
end

---Iterates over positions and bytes.
function metatable.__pairs(self)
  check(self)
  return next_byte, self, 0
end

metatable.__ipairs = metatable.__pairs

ffi.metatype(zffi.view_t, metatable)

return { methods = methods, metatable = metatable }
