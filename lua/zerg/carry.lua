-- What a connection takes along to the next version of the scripts, which is another Lua state:
-- plain data as one string, made here and read there.

local string_buffer = require("string.buffer")

-- Once for each connection that goes, the compiler has nothing to gain. That of LuaJIT until 2024
-- crashes where a side trace returns out of a recursion (LuaJIT issue 1169), as check() does.
jit.off(true, true)

local M = {}

local DEPTH_MAX = 64
local IDENTIFIER = "^[%a_][%w_]*$"

local is_plain = { ["nil"] = true, boolean = true, number = true, string = true }
local is_plain_key = { boolean = true, number = true, string = true }

local function path_to(path, key)
  if type(key) == "string" and key:find(IDENTIFIER) then
    return path .. "." .. key
  end
  return ("%s[%s]"):format(path, type(key) == "string" and ("%q"):format(key) or tostring(key))
end

local check

local function check_table(value, path, around)
  if getmetatable(value) ~= nil then
    return path .. " is a table with a metatable"
  elseif around[value] then
    return path .. " is a table that it is part of"
  elseif around.depth == DEPTH_MAX then
    return ("%s is nested deeper than %d tables"):format(path, DEPTH_MAX)
  end
  around[value] = true
  around.depth = around.depth + 1
  for key, item in next, value do
    local problem = not is_plain_key[type(key)] and ("%s has a %s as a key"):format(path, type(key))
      or check(item, path_to(path, key), around)
    if problem then
      return problem
    end
  end
  around.depth = around.depth - 1
  around[value] = nil
  return nil
end

-- around: the tables that contain it.
function check(value, path, around)
  if type(value) == "table" then
    return check_table(value, path, around)
  elseif not is_plain[type(value)] then
    return ("%s is a %s"):format(path, type(value))
  end
  return nil
end

---Why a value cannot be carried, nil: it can. Strings, numbers, booleans, nil, and tables of them
---without metatables or cycles can.
---@param value any
---@param name string what messages call it
---@return string|nil problem "state.users[3] is a function"
function M.problem(value, name)
  return check(value, name, { depth = 0 })
end

---@param ... any values that can be carried
---@return string
function M.pack(...)
  return string_buffer.encode({ n = select("#", ...), ... })
end

---@param text string what pack() gave, in this Lua state or another
---@return any ...
function M.unpack(text)
  local values = string_buffer.decode(text)
  return unpack(values, 1, values.n)
end

-- Debian's LuaJIT (2.1 of March 2022) crashes where encode() of a new table is compiled.
jit.off(M.pack)
jit.off(M.unpack)

return M
