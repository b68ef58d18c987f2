-- Times in requests, as deadlines: what EXPIRE, PEXPIREAT, SET EX and their like are given.

local integer = require "kv.integer"

--- The deadline that `text` stands for. Answers the error itself and returns nil when there is one.
---@param reply kv.reply
---@param name string of the command, for the error
---@param text string
---@param unit integer milliseconds of one unit of `text`
---@param base integer int64_t, milliseconds of wall clock that `text` counts from
---@param least integer the smallest time that makes sense
---@return integer? deadline int64_t, milliseconds of wall clock
local function parse(reply, name, text, unit, base, least)
  local time = integer.parse(text)
  if not time then
    return reply:error(integer.PROBLEM)
  end
  local is_too_far = time > (integer.MAX - base) / unit or time < integer.MIN / unit
  if is_too_far or time < least then
    return reply:error("invalid expire time in '" .. name .. "' command")
  end
  return time * unit + base
end

return { parse = parse }
