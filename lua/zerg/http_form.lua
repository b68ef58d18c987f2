-- Pairs of names and values as queries and forms have them, to a table.

local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local OK = C.ZERG_OK
local ffi_string = ffi.string

local pairs_t = ffi.typeof("struct zerg_pairs")
local buffer_t = ffi.typeof("char[?]")

local function decode(text)
  local out = buffer_t(text._len + 1)
  return ffi_string(out, C.zerg_pair_decode(out, text._data, text._len))
end

local function add(out, name, value)
  local before = out[name]
  if before == nil then
    out[name] = value
  elseif type(before) == "table" then
    before[#before + 1] = value
  else
    out[name] = { before, value }
  end
end

---@param text string application/x-www-form-urlencoded
---@return table<string, string|string[]> a list where a name came more than once
function M.parse(text)
  local out, rest = {}, pairs_t(ffi.cast("const uint8_t *", text), #text)
  while C.zerg_pair_next(rest) == OK do
    add(out, decode(rest._name), decode(rest._value))
  end
  return out
end

return M
