-- What a connection takes along to the next version of the scripts, which is another Lua state:
-- plain data as one string, made here and read there.

local ffi = require("ffi")
local string_buffer = require("string.buffer")

-- Once for each connection that goes, the compiler has nothing to gain. That of LuaJIT until 2024
-- crashes where a side trace returns out of a recursion (LuaJIT issue 1169), as check() does.
jit.off(true, true)

local M = {}

-- What costs time. A table that stands in several places is carried, and counted, in each of them.
local ITEMS_MAX = 100000
local BYTES_MAX = 16 * 1024 * 1024
local DEPTH_MAX = 64
local IDENTIFIER = "^[%a_][%w_]*$"

local is_plain = { ["nil"] = true, boolean = true, number = true, string = true }
local is_plain_key = { boolean = true, number = true, string = true }

-- How a message goes on from the name of a table to one of its items.
local function step_to(key)
  if type(key) == "string" and key:find(IDENTIFIER) then
    return "." .. key
  end
  return ("[%s]"):format(type(key) == "string" and ("%q"):format(key) or tostring(key))
end

-- Counts the bytes of a string; gives a problem when they are too many.
local function count_bytes(value, walk)
  walk.bytes = walk.bytes + (type(value) == "string" and #value or 0)
  return walk.bytes > BYTES_MAX and ("has more than %d bytes in strings"):format(BYTES_MAX) or nil
end

-- Counts an item of a table; gives a problem when it cannot be its key, or there are too many.
local function check_key(key, walk)
  if not is_plain_key[type(key)] then
    return ("has a %s as a key"):format(type(key)), ""
  end
  walk.items = walk.items + 1
  if walk.items > ITEMS_MAX then
    return ("has more than %d items"):format(ITEMS_MAX), nil
  end
  return count_bytes(key, walk), nil
end

local check

local function check_items(value, walk)
  for key, item in next, value do
    local problem, place = check_key(key, walk)
    if problem then
      return problem, place
    end
    problem, place = check(item, walk)
    if problem then
      return problem, place and step_to(key) .. place
    end
  end
  return nil
end

local function check_table(value, walk)
  if getmetatable(value) ~= nil then
    return "is a table with a metatable", ""
  elseif walk.around[value] then
    return "is a table that it is part of", ""
  elseif walk.depth == DEPTH_MAX then
    return ("is nested deeper than %d tables"):format(DEPTH_MAX), ""
  end
  walk.around[value] = true
  walk.depth = walk.depth + 1
  local problem, place = check_items(value, walk)
  walk.depth = walk.depth - 1
  walk.around[value] = nil
  return problem, place
end

-- Gives a problem, and the way from `value` to what has it; no way: the whole has it.
function check(value, walk)
  if type(value) == "table" then
    return check_table(value, walk)
  elseif not is_plain[type(value)] then
    return ("is a %s"):format(type(value)), ""
  end
  return count_bytes(value, walk), nil
end

---Why a value cannot be carried, nil: it can. Strings, numbers, booleans, nil, and tables of them
---without metatables or cycles can, up to limits of their size.
---@param value any
---@param name string what messages call it
---@return string|nil problem "state.users[3] is a function"
function M.problem(value, name)
  -- around: the tables that contain what is looked at.
  local walk = { around = {}, depth = 0, items = 0, bytes = 0 }
  local problem, place = check(value, walk)
  return problem and ("%s%s %s"):format(name, place or "", problem)
end

---@param ... any values that can be carried
---@return string
function M.pack(...)
  return string_buffer.encode({ n = select("#", ...), ... })
end

---@class zerg.carried the values, and how many they are
---@field n integer

---@param pointer lightuserdata|ffi.cdata* what pack() gave, in another Lua state
---@param len integer its bytes
---@return zerg.carried
function M.unpack(pointer, len)
  local values = string_buffer.new():set(ffi.cast("const char *", pointer), len):decode()
  return values -- no tail call: it is here that the want of memory is noticed
end

-- Debian's LuaJIT (2.1 of March 2022) crashes where encode() of a new table is compiled.
jit.off(M.pack)
jit.off(M.unpack)

return M
