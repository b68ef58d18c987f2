-- zerg.seq: received bytes as one sequence of views, without joining them. Borrowed like a view,
-- and like it checked at every use: the generation of the first piece's lease stands for all, and C
-- finds a piece in the middle that was released on its own.

local bytes = require("zerg.bytes")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local misuse, range, seq_string = bytes.misuse, bytes.range, bytes.seq_string
local seq_t, view_t = zffi.seq_t, zffi.view_t
local OK, NO_MEMORY, RELEASED = C.ZERG_OK, C.ZERG_NO_MEMORY, C.ZERG_RELEASED

---Received bytes as a sequence of views, borrowed until release() or the next wait/read/peek on
---their connection. `#seq` is the length, tostring(seq) the bytes; `==` and `..` work with strings,
---views and sequences.
---@class zerg.seq
---@field len integer its length in bytes
---@operator len: integer
---@operator concat(string|number|zerg.view|zerg.seq): string
local methods = {}
local getters = {}

-- Where a byte of another piece than the first is looked at.
local piece = view_t()

-- Level 3: the function that called the method. An empty sequence holds no lease and is always
-- valid.
local function check(self)
  if not bytes.seq_holds(self) then
    error(bytes.RELEASED, 3)
  end
end

function getters.len(self)
  check(self)
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
    return misuse("seq:sub", "a position", i)
  elseif type(j) ~= "number" then
    return misuse("seq:sub", "a second position", j)
  end
  local from, count = range(i, j, self._len)
  local text = seq_string(self, from, count)
  return text or error(bytes.RELEASED, 2)
end

-- The byte at 0-based `at`, which is inside.
local function byte_at(self, at)
  local first = self._first
  local offset = self._offset + at
  if offset < first.len then
    return first.data[offset]
  end
  if C.zerg_seq_view_at(self, at, piece) ~= OK then
    error(bytes.RELEASED, 3)
  end
  return piece._data[0]
end

---The byte at i; with j, the bytes from i to j, like string.byte.
---@param i? integer 1 by default
---@param j? integer i by default
---@return integer|nil ... nil when i is outside
function methods.byte(self, i, j)
  check(self)
  i = i or 1
  if type(i) ~= "number" then
    return misuse("seq:byte", "a position", i)
  end
  if j then
    return methods.sub(self, i, j):byte(1, -1)
  end
  local len = self._len
  if i < 0 then
    i = len + i + 1
  end
  if i >= 1 and i <= len then
    local byte = byte_at(self, i - 1)
    return byte
  end
  return nil
end

---Where the string `s` is first found at or after init (no patterns), across view borders, like
---string.find.
---@param s string
---@param init? integer 1 by default
---@return integer|nil first
---@return integer|nil last
function methods.find(self, s, init)
  check(self)
  init = init or 1
  if type(s) ~= "string" then
    return misuse("seq:find", "a string", s)
  elseif type(init) ~= "number" then
    return misuse("seq:find", "a position", init)
  end
  if s == "" then
    return bytes.find_empty(init, self._len)
  elseif init > self._len then
    return nil
  end
  local at = C.zerg_seq_find(self, s, #s, (range(init, -1, self._len)))
  if at >= 0 then
    return at + 1, at + #s
  elseif at == RELEASED then
    error(bytes.RELEASED, 2)
  end
  return nil
end

---The part from i to j as a sequence of its own, without a copy. It ends when this one does, unless
---it is retained.
---@param i? integer 1 by default
---@param j? integer -1 by default
---@return zerg.seq
function methods.slice(self, i, j)
  check(self)
  i, j = i or 1, j or -1
  if type(i) ~= "number" then
    return misuse("seq:slice", "a position", i)
  elseif type(j) ~= "number" then
    return misuse("seq:slice", "a second position", j)
  end
  local part = seq_t()
  local from, count = range(i, j, self._len)
  if count > 0 and C.zerg_seq_slice(self, from, count, part) ~= OK then
    error(bytes.RELEASED, 2)
  end
  return part
end

local function next_view(state)
  local seq, from = state.seq, state.from
  if from >= seq._len then
    return nil
  end
  local view = view_t()
  if C.zerg_seq_view_at(seq, from, view) ~= OK then
    error(bytes.RELEASED, 2)
  end
  state.from = from + view._len
  return view
end

---Iterates over the pieces as views; each may be released on its own.
---@return fun(state: table): zerg.view|nil
---@return table state
function methods.views(self)
  check(self)
  return next_view, { seq = self, from = 0 }
end

---Keeps the bytes past the next wait/read/peek, until its own release() (or its collection).
---@return zerg.seq|nil seq itself
---@return string|nil reason "limit: ..."
function methods.retain(self)
  check(self)
  local rc = C.zerg_seq_retain(self)
  if rc == OK then
    return ffi.gc(self, C.zerg_seq_release)
  elseif rc == NO_MEMORY then
    return nil, "limit: out of memory"
  end
  error(bytes.RELEASED, 2)
end

---Gives the buffers back to the kernel now. Releasing twice does nothing.
function methods.release(self)
  C.zerg_seq_release(ffi.gc(self, nil))
end

local metatable = {
  __name = "zerg.seq",
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
    return getter(self)
  end
  error("seq has no field '" .. tostring(key) .. "'", 2)
end

function metatable.__newindex(_, key)
  error("seq." .. tostring(key) .. " cannot be set", 2)
end

function metatable.__len(self)
  check(self)
  return self._len
end

function metatable.__tostring(self)
  check(self)
  return seq_string(self, 0, self._len) or error(bytes.RELEASED, 2)
end

local function next_piece(state, index)
  local view = next_view(state)
  if view then
    return index + 1, view
  end
  return nil
end

---Iterates over the pieces, numbered, as views.
function metatable.__pairs(self)
  check(self)
  return next_piece, { seq = self, from = 0 }, 0
end

metatable.__ipairs = metatable.__pairs

ffi.metatype(seq_t, metatable)

return { methods = methods, metatable = metatable }
