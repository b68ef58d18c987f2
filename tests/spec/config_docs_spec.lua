-- docs/configuration.md says of every key what lua/zerg/config/schema.lua says: default and range.

local schema = require "zerg.config.schema"
local values = require "zerg.config.values"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

---The table row of a key: its cells, below the heading (or the introducing line) of its table.
local function row(text, table_name, key)
  local from = table_name and assert(text:find("\n## " .. table_name, 1, true)
    or text:find("\n`" .. table_name .. " = ", 1, true), table_name) or text:find("\n## Top level")
  local line = text:match("\n| `" .. key .. "` (|[^\n]*)", from)
  local cells = {}
  for cell in (line or ""):gmatch("|%s*([^|]-)%s*%f[|]") do
    cells[#cells + 1] = cell
  end
  return cells
end

---A number, size or time as the document writes it.
local function shown(field, value)
  local show = { size = values.show_size, time = values.show_time }
  return show[field.type] and show[field.type](value) or values.show(value)
end

describe("docs/configuration.md", function()
  local text = read("docs/configuration.md")

  it("has a row for every key, with its default and range", function()
    schema.each(function(name, field)
      local key = name:match("[%w_]+$")
      local parent = name:match("([%w_]+)[%[%]]*%.[%w_]+$")
      if not field.later then
        local cells = row(text, parent, key)
        assert.is_true(#cells >= 4, name .. " has no row of its own")
        if type(field.default) == "number" then
          local is_shown = cells[2]:find(shown(field, field.default), 1, true)
            or values.time(cells[2]:match('"(.-)"')) == field.default
          assert.is_truthy(is_shown, ("default of %s: %s"):format(name, cells[2]))
        end
        for _, bound in ipairs { field.min, field.max } do
          assert.is_truthy(cells[3]:find(shown(field, bound):gsub('"', ""), 1, true),
            ("range of %s: %s"):format(name, cells[3]))
        end
        for _, word in ipairs(field.values or {}) do
          assert.is_truthy(cells[3]:find(word, 1, true), name)
        end
      end
    end)
  end)

  it("says nothing of keys that are not available yet", function()
    for _, later in ipairs { "access_log", "shared" } do
      assert.is_nil(text:find("`" .. later .. "`", 1, true))
    end
  end)
end)
