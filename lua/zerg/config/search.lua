-- Where require() looks for the modules of a configuration's scripts.

local files = require "zerg.config.files"

local M = {}

local original_path = package.path

---The templates of lua_path as seen from the working directory.
---@param directory string
---@param lua_path string templates joined by ;
---@return string
function M.join(directory, lua_path)
  local joined = {}
  for template in lua_path:gmatch("[^;]+") do
    joined[#joined + 1] = files.join(directory, template)
  end
  return table.concat(joined, ";")
end

---Lets require() look beside the configuration first, then in lua_path, then where it always does.
---@param directory string
---@param lua_path? string templates that join() gave
function M.set(directory, lua_path)
  local templates = { files.join(directory, "?.lua"), files.join(directory, "?/init.lua") }
  if lua_path and lua_path ~= "" then
    templates[#templates + 1] = lua_path
  end
  templates[#templates + 1] = original_path
  package.path = table.concat(templates, ";")
end

return M
