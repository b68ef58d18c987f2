-- Read-only faces of tables (zerg.config). A cdata, not a table: LuaJIT honours `pairs`, `ipairs`
-- and `#` of a metatable only there, and writing to it raises.

local zffi = require("zerg.ffi")

local M = {}

-- The tables behind the faces, and the face of each. They live as long as the Lua state: there is
-- one configuration in it.
local tables = {}
local faces = {}

local function face_of(value)
  if type(value) ~= "table" then
    return value
  end
  return faces[value] or M.wrap(value)
end

local metatable = { __name = "zerg.readonly" }

function metatable.__index(self, key)
  return face_of(tables[self.index][key])
end

function metatable.__newindex(_, key)
  error("zerg.config is read-only (key '" .. tostring(key) .. "')", 2)
end

function metatable.__len(self)
  return #tables[self.index]
end

local function next_pair(state, key)
  local next_key, value = next(state, key)
  return next_key, face_of(value)
end

function metatable.__pairs(self)
  return next_pair, tables[self.index], nil
end

local function next_item(state, index)
  local value = state[index + 1]
  if value ~= nil then
    return index + 1, face_of(value)
  end
end

function metatable.__ipairs(self)
  return next_item, tables[self.index], 0
end

function metatable.__tostring()
  return "zerg.readonly"
end

local readonly_t = zffi.ffi.metatype("struct zerg_readonly", metatable)

---@generic T: table
---@param value T
---@return T
function M.wrap(value)
  tables[#tables + 1] = value
  local face = readonly_t(#tables)
  faces[value] = face
  return face
end

return M
