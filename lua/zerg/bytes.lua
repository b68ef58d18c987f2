-- What views and sequences share: positions as string.sub counts them, bytes to Lua strings, and
-- comparing and concatenating as if they were strings. Callers have checked that a lease still
-- holds.

local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local ffi_string, istype = ffi.string, ffi.istype
local view_t, seq_t = zffi.view_t, zffi.seq_t
local OK = C.ZERG_OK
local floor = math.floor

M.RELEASED = "view used after release"

---True while the lease of the view holds.
---@param view zerg.view
---@return boolean
function M.view_holds(view)
  local lease = view._lease
  return lease ~= nil and lease.generation == view._generation
end

---True while the first lease of the sequence holds. An empty one has none and always does.
---@param seq zerg.seq
---@return boolean
function M.seq_holds(seq)
  local first = seq._first
  return first == nil or first.generation == seq._generation
end

-- Where bytes of several pieces are gathered. Grows up to what is worth keeping.
local SCRATCH_BYTES_KEPT_MAX = 1024 * 1024
local scratch_bytes = 4096
local scratch = ffi.new("uint8_t[?]", scratch_bytes)

local function bigger_scratch(count)
  if count > SCRATCH_BYTES_KEPT_MAX then
    return ffi.new("uint8_t[?]", count)
  end
  while scratch_bytes < count do
    scratch_bytes = scratch_bytes * 2
  end
  scratch = ffi.new("uint8_t[?]", scratch_bytes)
  return scratch
end

---0-based start and length of the part from i to j of `len` bytes, as string.sub clips it (whatever
---the numbers are, also NaN).
---@param i number
---@param j number
---@param len integer
---@return integer from
---@return integer count
function M.range(i, j, len)
  if i < 0 then
    i = len + i + 1
  end
  if j < 0 then
    j = len + j + 1
  end
  -- This way round a NaN becomes 1 or len.
  i = i >= 1 and i or 1
  j = j <= len and j or len
  if i <= j then
    return i - 1, j - i + 1
  end
  return 0, 0
end

---What find("", init) gives of `len` bytes: string.find finds the empty string everywhere, also
---behind the last byte.
---@param init number
---@param len integer
---@return integer first
---@return integer last
function M.find_empty(init, len)
  local from = init > len and len or (M.range(init, len, len))
  return from + 1, from
end

---@param seq zerg.seq valid
---@param from integer 0-based
---@param count integer
---@return string|nil nil when a piece in the middle was released on its own
function M.seq_string(seq, from, count)
  local first = seq._first
  if count == 0 or first == nil then
    return ""
  end
  local start = seq._offset + from
  if start + count <= first.len then
    local text = ffi_string(first.data + start, count)
    return text
  end
  local out = count <= scratch_bytes and scratch or bigger_scratch(count)
  if C.zerg_seq_copy(seq, from, count, out) ~= OK then
    return nil
  end
  return ffi_string(out, count)
end

local function is_text(value)
  return type(value) == "string" or istype(seq_t, value) or istype(view_t, value)
end

---@param value string|zerg.view|zerg.seq
---@return string
local function text(value)
  return type(value) == "string" and value or value:sub(1, -1)
end

---__eq of views and sequences: the same bytes, also compared with a string. Another type is
---unequal.
function M.equal(a, b)
  if not is_text(a) or not is_text(b) then
    return false
  end
  return #a == #b and text(a) == text(b)
end

---__concat of views and sequences.
function M.concat(a, b)
  local left = type(a) == "number" and tostring(a) or a
  local right = type(b) == "number" and tostring(b) or b
  if not is_text(left) or not is_text(right) then
    error("attempt to concatenate a " .. type(is_text(left) and right or left) .. " value", 2)
  end
  return text(left) .. text(right)
end

---True for a number from min to max; NaN is none.
---@param value any
---@param min number
---@param max? number
---@return boolean
function M.is_number(value, min, max)
  return type(value) == "number" and value >= min and value <= (max or math.huge)
end

---True for a whole number from min to max.
---@param value any
---@param min number
---@param max? number
---@return boolean
function M.is_count(value, min, max)
  return M.is_number(value, min, max) and floor(value) == value
end

---The option `max` of an adapter, which has no other one. An error is the fault of the caller's
---caller.
---@param method string "conn:reader"
---@param opts table|nil
---@param default integer
---@return integer
function M.max_option(method, opts, default)
  for name in pairs(opts or {}) do
    if name ~= "max" then
      error(method .. ": unknown option '" .. tostring(name) .. "'", 3)
    end
  end
  local max = opts and opts.max or default
  if not M.is_number(max, 1) then
    error(method .. ": max: expected a count of bytes, got " .. tostring(max), 3)
  end
  return max
end

---Raises what a method got instead of what it wants, as the fault of the method's caller. For a
---tail call from the method.
---@param method string "view:sub"
---@param expected string
---@param got any
function M.misuse(method, expected, got)
  local shown = type(got) == "number" and tostring(got) or type(got)
  error(method .. ": expected " .. expected .. ", got " .. shown, 2)
end

return M
