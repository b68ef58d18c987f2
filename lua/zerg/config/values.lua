-- Values as operators write them: sizes ("64k"), times ("500ms"), and how values, ranges and key
-- paths are shown in messages. Knows nothing of the schema's keys.

local M = {}

local SIZE_UNITS = { [""] = 1, k = 1024, m = 1024 ^ 2, g = 1024 ^ 3 }
local TIME_UNITS = { [""] = 1, ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }
local SHOWN_MAX = 40

---A finite number (NaN and infinities are none).
---@param value any
---@return boolean
function M.is_number(value)
  return type(value) == "number" and value == value and math.abs(value) ~= math.huge
end

---@param value any
---@param units table<string, number>
---@return number|nil
local function with_unit(value, units)
  if M.is_number(value) then
    return value
  end
  if type(value) ~= "string" then
    return nil
  end
  local digits, unit = value:match("^%s*(%d+%.?%d*)%s*(%a*)%s*$")
  local factor = unit and units[unit:lower()]
  return factor and tonumber(digits) * factor or nil
end

---Bytes of 4096, "4096", "64k", "1.5m", "1g" (powers of 1024), nil when value is none of these.
---@param value any
---@return number|nil bytes
function M.size(value)
  local bytes = with_unit(value, SIZE_UNITS)
  return bytes and bytes % 1 == 0 and bytes or nil
end

---Seconds of 30, 0.5, "500ms", "2s", "2m", "1h", "1d", nil when value is none of these.
---@param value any
---@return number|nil seconds
function M.time(value)
  return with_unit(value, TIME_UNITS)
end

---@param value any
---@return boolean
function M.is_power_of_two(value)
  local mantissa = M.is_number(value) and value > 0 and math.frexp(value)
  return mantissa == 0.5
end

---A value as it is shown in a message: strings quoted and cut, tables by their kind.
---@param value any
---@return string
function M.show(value)
  local kind = type(value)
  if kind == "string" then
    local text = #value > SHOWN_MAX and value:sub(1, SHOWN_MAX) .. "..." or value
    return '"' .. text:gsub("[%c\"\\]", function(char)
      return ("\\%d"):format(char:byte())
    end) .. '"'
  elseif kind == "number" then
    return ("%.14g"):format(value)
  elseif kind == "nil" or kind == "boolean" then
    return tostring(value)
  end
  return "a " .. kind
end

---"64k" for 65536; numbers that are no multiple of a unit stay numbers.
---@param bytes number
---@return string
function M.show_size(bytes)
  for _, unit in ipairs { "g", "m", "k" } do
    if bytes >= SIZE_UNITS[unit] and bytes % SIZE_UNITS[unit] == 0 then
      return ('"%d%s"'):format(bytes / SIZE_UNITS[unit], unit)
    end
  end
  return ("%.14g"):format(bytes)
end

---@param seconds number
---@return string
function M.show_time(seconds)
  for _, unit in ipairs { "d", "h", "m" } do
    if seconds >= TIME_UNITS[unit] and seconds % TIME_UNITS[unit] == 0 then
      return ('"%d%s"'):format(seconds / TIME_UNITS[unit], unit)
    end
  end
  if seconds > 0 and seconds < 1 then
    return ('"%.14gms"'):format(seconds * 1000)
  end
  return ("%.14g"):format(seconds)
end

---listeners[2].port, upstreams["my app"].servers: the text of a key path.
---@param path any[] names and positions, outermost first
---@return string
function M.show_path(path)
  local parts = {}
  for index, part in ipairs(path) do
    if type(part) == "string" and part:find("^[%a_][%w_]*$") then
      parts[index] = index > 1 and "." .. part or part
    elseif type(part) == "string" then
      parts[index] = ("[%s]"):format(M.show(part))
    else
      parts[index] = ("[%s]"):format(tostring(part))
    end
  end
  return table.concat(parts)
end

return M
