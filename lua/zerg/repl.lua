-- Evaluates what an operator types (`zerg repl`) in a live state: like the prompt of luajit, an
-- expression gives its values. Nothing can park here. What is printed goes to the operator.

local json = require("cjson")

local M = {}

local ITEMS_MAX = 20
local DEPTH_MAX = 3
local IDENTIFIER = "^[%a_][%w_]*$"

local show

-- Numbers first, then strings, each in order, then all else as it comes.
local function sorted_keys(value)
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(left, right)
    if type(left) == type(right) and (type(left) == "number" or type(left) == "string") then
      return left < right
    end
    return type(left) == "number" and type(right) ~= "number"
      or type(left) == "string" and type(right) ~= "number" and type(right) ~= "string"
  end)
  return keys
end

local function show_key(key)
  if type(key) == "string" and key:find(IDENTIFIER) then
    return key
  end
  return "[" .. show(key, DEPTH_MAX) .. "]"
end

local function show_table(value, depth)
  if depth >= DEPTH_MAX then
    return next(value) == nil and "{}" or "{ ... }"
  end
  local parts = {}
  for index, key in ipairs(sorted_keys(value)) do
    if index > ITEMS_MAX then
      parts[#parts + 1] = "..."
      break
    end
    local item = show(value[key], depth + 1)
    parts[#parts + 1] = key == index and item or ("%s = %s"):format(show_key(key), item)
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

-- As Lua source where there is one.
function show(value, depth)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  elseif type(value) == "table" and getmetatable(value) == nil then
    return show_table(value, depth)
  end
  return tostring(value)
end

-- An expression, or else statements.
local function compile(code, env)
  local chunk = load("return " .. code, "=repl", "t", env)
  if chunk then
    return chunk
  end
  return load(code, "=repl", "t", env)
end

local function environment(output)
  local function print(...)
    local parts = {}
    for index = 1, select("#", ...) do
      parts[index] = tostring((select(index, ...)))
    end
    output[#output + 1] = table.concat(parts, "\t") .. "\n"
  end
  return setmetatable({ print = print }, { __index = _G, __newindex = _G })
end

local function results(output, ok, ...)
  local reply = { output = table.concat(output) }
  if not ok then
    reply.error = (...)
    return reply
  end
  local values = {}
  for index = 1, select("#", ...) do
    values[index] = show((select(index, ...)), 0)
  end
  reply.values = setmetatable(values, json.array_mt)
  return reply
end

---Evaluates code. Does not park, nor may the code.
---@param code string
---@return string json { output = what was printed, values = what it gave, as text } or
---{ output =, error = with a traceback }
function M.eval(code)
  local output = {}
  local chunk, problem = compile(code, environment(output))
  if not chunk then
    return json.encode(results(output, false, problem))
  end
  return json.encode(results(output, xpcall(chunk, debug.traceback)))
end

return M
