-- How the value of one key is read, by the type of its field: checked, and given back normalised.
-- Types with rules of their own (addresses, servers, handlers) come from other modules, see
-- check.lua.

local schema = require "zerg.config.schema"
local values = require "zerg.config.values"

local function quoted_list(words)
  local shown = {}
  for index, word in ipairs(words) do
    shown[index] = values.show(word)
  end
  return table.concat(shown, ", ", 1, #shown - 1) .. (#shown > 1 and " or " or "") .. shown[#shown]
end

---What the field takes, for "expected ...".
local function expectation(field)
  local kinds = {
    integer = { "a number", tostring },
    size = { "a size", values.show_size },
    time = { "a time", values.show_time },
  }
  local text = field.what
  if kinds[field.type] then
    local noun, show = unpack(kinds[field.type])
    text = ("%s from %s to %s"):format(field.power_of_two and "a power of two" or noun,
      show(field.min), show(field.max))
  elseif field.type == "boolean" then
    return (field.auto and '"auto", ' or "") .. "true or false"
  elseif field.type == "enum" then
    text = quoted_list(field.values)
  end
  return (field.auto and '"auto" or ' or "") .. text
end

---Whether `number` is in the field's range, and a power of two where it has to be.
local function fits(field, number)
  return number >= field.min and number <= field.max
    and (not field.power_of_two or values.is_power_of_two(number))
end

-- Each takes (self, field, value, path) and returns the normalised value, or notes a problem and
-- returns nil.
local readers = {}

function readers:integer(field, value, path)
  if not values.is_number(value) or not fits(field, value) then
    return self:expected(path, expectation(field), value)
  elseif value % 1 ~= 0 then
    return self:expected(path, "a whole number", value)
  end
  return value
end

function readers:size(field, value, path)
  local bytes = values.size(value)
  if not bytes or not fits(field, bytes) then
    return self:expected(path, expectation(field), value)
  end
  return bytes
end

function readers:time(field, value, path)
  local seconds = values.time(value)
  if not seconds or not fits(field, seconds) then
    return self:expected(path, expectation(field), value)
  end
  return seconds
end

function readers:boolean(field, value, path)
  if type(value) ~= "boolean" then
    return self:expected(path, expectation(field), value)
  end
  return value
end

function readers:enum(field, value, path)
  for _, allowed in ipairs(field.values) do
    if value == allowed then
      return value
    end
  end
  local hint = field.later_values and type(value) == "string" and field.later_values[value]
  if hint then
    return self:later(path, values.show(value), hint)
  end
  self:expected(path, expectation(field), value)
end

function readers:string(field, value, path)
  if type(value) ~= "string" or not value:find(field.pattern or "^%Z+$") then
    return self:expected(path, expectation(field), value)
  elseif field.max and #value > field.max then
    local message = "%s has %d bytes, expected at most %d"
    return self:problem(path, message:format(values.show(value), #value, field.max))
  end
  local exists = self.context.account_exists
  if field.account and exists and not exists(field.account, value) then
    local message = "there is no %s %s on this machine"
    return self:problem(path, message:format(field.account, values.show(value)))
  end
  return value
end

function readers:lua_path(_, value, path)
  if type(value) ~= "string" then
    return self:expected(path, 'templates such as "lib/?.lua"', value)
  end
  for template in value:gmatch("[^;]+") do
    if not template:find("?", 1, true) then
      self:problem(path, ("%s has no ? for the module's name"):format(values.show(template)))
    end
  end
  return value
end

function readers:table(field, value, path)
  if type(value) ~= "table" then
    return self:expected(path, "a table", value)
  end
  return self:fields(field.fields, value, path)
end

---Whether `value` is a table of positions 1 to n only, n at most the field's maximum; notes what it
---has besides.
local function is_list(self, field, value, path)
  if type(value) ~= "table" then
    self:expected(path, field.what, value)
    return false
  end
  for key in pairs(value) do
    if field.fields and schema.find(field.fields, key) then
      self:problem(path, ("expected %s, got one table"):format(field.what))
      return false
    elseif type(key) ~= "number" or key < 1 or key % 1 ~= 0 or key > field.max then
      local message = "unknown key: expected positions 1 to %d only"
      self:problem(self.below(path, key), message:format(field.max))
    end
  end
  return true
end

---The largest position in use; those above `max` do not count.
local function last_position(list, max)
  local last = 0
  for key in pairs(list) do
    if type(key) == "number" and key > last and key <= max then
      last = key
    end
  end
  return last
end

function readers:list(field, value, path)
  local read = readers[field.item or "table"]
  if field.single and type(value) == "string" then
    return { read(self, field, value, path) }
  elseif not is_list(self, field, value, path) then
    return nil
  end
  local items, last = {}, last_position(value, field.max)
  for index = 1, last do
    items[index] = read(self, field, value[index], self.below(path, index)) or {}
  end
  if last < field.min then
    self:problem(path, "expected at least one")
  end
  return items
end

function readers:map(field, value, path)
  if type(value) ~= "table" then
    return self:expected(path, field.what, value)
  end
  local items, count = {}, 0
  for key, item in pairs(value) do
    local item_path = self.below(path, key)
    count = count + 1
    if type(key) ~= "string" or not key:find(field.key_pattern) then
      self:problem(item_path, "expected " .. field.key_what)
    else
      items[key] = readers.table(self, field, item, item_path) or {}
    end
  end
  if count > field.max then
    self:problem(path, ("expected at most %d, got %d"):format(field.max, count))
  end
  return items
end

return readers
