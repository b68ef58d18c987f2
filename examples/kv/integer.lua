-- Whole numbers as Redis understands them: 64 bits with a sign, written without spaces, plus sign
-- or leading zeros. A Lua number is exact only up to 2^53, so these are LuaJIT's int64_t values.

local ffi = require "ffi"

local byte, format, sub = string.byte, string.format, string.sub
local int64 = ffi.typeof("int64_t")

local M = {}

-- What Redis answers when it gets something else.
M.PROBLEM = "value is not an integer or out of range"

M.MAX = 9223372036854775807LL
M.MIN = -9223372036854775807LL - 1LL

local MINUS, ZERO = 45, 48
local DIGITS_MAX = 19 -- no 19 digits overflow 64 bits without a sign
local EXACT = 9007199254740992LL -- 2^53

--- The digits of `text` from position `from` on as one number, or nil.
local function digits(text, from)
  local first = byte(text, from)
  if not first or #text - from >= DIGITS_MAX then
    return nil
  end
  if first == ZERO and #text > 1 then
    return nil
  end
  local n = 0ULL
  for i = from, #text do
    local digit = byte(text, i) - ZERO
    if digit < 0 or digit > 9 then
      return nil
    end
    n = n * 10ULL + digit
  end
  return n
end

---@param text string
---@return integer? n int64_t; nil when text is not a whole number of 64 bits
function M.parse(text)
  local is_negative = byte(text, 1) == MINUS
  local n = digits(text, is_negative and 2 or 1)
  if not n then
    return nil
  end
  if is_negative then
    return n <= 9223372036854775808ULL and -int64(n) or nil
  end
  return n <= 9223372036854775807ULL and int64(n) or nil
end

---@param n integer int64_t
---@return string
function M.format(n)
  if n < EXACT and n > -EXACT then
    return format("%d", tonumber(n))
  end
  return sub(tostring(n), 1, -3) -- without "LL"
end

return M
