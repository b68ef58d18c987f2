-- Checks what zerg.lua returned against the schema and gives back a complete, normalised copy:
-- defaults filled in, sizes in bytes, times in seconds. Finds all problems in one pass. What
-- concerns several keys of a listener or an upstream is in listeners.lua and upstreams.lua.

local addresses = require "zerg.config.addresses"
local listeners = require "zerg.config.listeners"
local nearest = require "zerg.config.nearest"
local readers = require "zerg.config.readers"
local routes = require "zerg.config.routes"
local schema = require "zerg.config.schema"
local search = require "zerg.config.search"
local targets = require "zerg.config.targets"
local upstreams = require "zerg.config.upstreams"
local values = require "zerg.config.values"

local M = {}

---@class zerg.config.problem
---@field file string
---@field line integer|nil
---@field key string|nil path of the key: "listeners[2].port"
---@field message string

---@class zerg.config.checker
---@field context table file, directory, locator, version, account_exists, run_scripts
---@field problems zerg.config.problem[]
local checker = {}
checker.__index = checker

---Whether a handler script that several listeners share was found wrong before.
function checker:has(place, message)
  for _, problem in ipairs(self.problems) do
    local same_place = problem.file == place.file and problem.line == place.line
    if same_place and problem.file ~= self.context.file and problem.message == message then
      return true
    end
  end
  return false
end

---Notes a problem with the key at `path`; place: where else than at that key.
---@param path any[]
---@param message string
---@param place? { file: string, line: integer|nil }
function checker:problem(path, message, place)
  local locator = self.context.locator
  place = place or { file = self.context.file, line = locator and locator:line(path) }
  if not self:has(place, message) then
    local key = #path > 0 and values.show_path(path) or nil
    self.problems[#self.problems + 1] = {
      file = place.file, line = place.line, key = key, message = message,
    }
  end
end

---Notes that the key at `path` has another value than `what`.
---@param path any[]
---@param what string
---@param value any
function checker:expected(path, what, value)
  self:problem(path, ("expected %s, got %s"):format(what, values.show(value)))
end

---@param path any[]
---@param key any
---@return any[]
function checker.below(path, key)
  local longer = { unpack(path) }
  longer[#longer + 1] = key
  return longer
end

readers.address = addresses.read_address
readers.range = addresses.read_range
readers.name_server = addresses.read_name_server
readers.path = addresses.read_path
readers.control = addresses.read_control
readers.mode = listeners.read_mode
readers.handler = listeners.read_handler
readers.forward = listeners.read_forward
readers.host = routes.read_host
readers.headers = routes.read_headers
readers.target = targets.read
readers.server = upstreams.read_server
readers.status = upstreams.read_status

---Notes that something known is not built yet.
function checker:later(path, what, hint)
  local version = self.context.version and (" (%s)"):format(self.context.version) or ""
  hint = hint ~= "" and ": " .. hint or ""
  self:problem(path, ("%s is not available in this version%s%s"):format(what, version, hint))
end

---Whether the value of a later key asks for nothing, so that it may stand there already.
local function asks_for_nothing(value)
  return value == false or value == 0 or (type(value) == "table" and next(value) == nil)
end

---@return any value of a key that is not given, nil when it has no default
function checker:default(field, path)
  if field.required then
    return self:problem(path, "missing: " .. field.doc)
  elseif field.optional or field.default == schema.INHERIT then
    return nil
  elseif field.type == "table" then
    return self:fields(field.fields, {}, path)
  elseif field.type == "list" or field.type == "map" then
    return {}
  end
  return field.default
end

---@return any normalised value, nil after a problem or when the key has neither value nor default
function checker:field(field, value, path)
  if field.later then
    if value ~= nil and not asks_for_nothing(value) then
      self:later(path, ("`%s`"):format(field.name), field.later)
    end
    return nil
  elseif value == nil then
    return self:default(field, path)
  elseif field.auto and value == "auto" then
    return value
  end
  return readers[field.type](self, field, value, path)
end

---@param fields table[]
---@return string[]
local function names_of(fields)
  local names = {}
  for _, field in ipairs(fields) do
    names[#names + 1] = field.name
  end
  return names
end

---Where else in zerg.lua a key of that name belongs.
local function elsewhere(name)
  local found
  schema.each(function(dotted)
    if not found and dotted:match("[^.]*$") == name then
      found = dotted
    end
  end)
  return found
end

function checker:unknown(fields, key, path)
  local guess = nearest.of(key, names_of(fields)) or (type(key) == "string" and elsewhere(key))
  local hint = guess and (": did you mean `%s`?"):format(guess) or ""
  self:problem(self.below(path, key), "unknown key" .. hint)
end

---Checks the keys of one table.
---@param fields table[]
---@param value table
---@param path any[]
---@return table normalised
function checker:fields(fields, value, path)
  local normalised = {}
  for key in pairs(value) do
    if not schema.find(fields, key) then
      self:unknown(fields, key, path)
    end
  end
  for _, field in ipairs(fields) do
    normalised[field.name] = self:field(field, value[field.name], self.below(path, field.name))
  end
  return normalised
end

---In the order of their lines, those without one first; those in `file` before those in other
---files.
local function in_order(problems, file)
  table.sort(problems, function(left, right)
    if left.file ~= right.file then
      return left.file == file or (right.file ~= file and left.file < right.file)
    elseif (left.line or 0) ~= (right.line or 0) then
      return (left.line or 0) < (right.line or 0)
    elseif (left.key or "") ~= (right.key or "") then
      return (left.key or "") < (right.key or "")
    end
    return left.message < right.message
  end)
  return problems
end

local function begin(raw, context)
  local self = setmetatable({ context = context, problems = {} }, checker)
  if type(raw) ~= "table" then
    self:problem({}, ("expected the file to return a table, got %s"):format(values.show(raw)))
  end
  return self
end

---Checks one key of what zerg.lua returned, whatever is wrong with the others.
---@param raw any
---@param name string
---@param context table
---@return any normalised
---@return zerg.config.problem[] problems
function M.check_key(raw, name, context)
  local self = begin(raw, context)
  if #self.problems > 0 then
    return nil, self.problems
  end
  return self:field(schema.find(schema.fields, name), raw[name], { name }), self.problems
end

---Checks the value that zerg.lua returned.
---@param raw any
---@param context table file, directory, locator, and of zerg.config.options version,
---account_exists, run_scripts. package.path is set for its scripts.
---@return table|nil normalised nil when there are problems
---@return zerg.config.problem[] problems
function M.check(raw, context)
  local self = begin(raw, context)
  if #self.problems > 0 then
    return nil, self.problems
  end
  local normalised = self:fields(schema.fields, raw, {})
  search.set(context.directory, search.join(context.directory, normalised.lua_path or ""))
  upstreams.check(self, raw.upstreams, normalised)
  if normalised.listeners then
    listeners.check(self, raw.listeners, normalised)
  end
  if #self.problems > 0 then
    return nil, in_order(self.problems, context.file)
  end
  return normalised, {}
end

return M
