-- Files named in a configuration: paths relative to it, their text, and Lua source compiled with
-- errors that carry file and line.

local raised = require "zerg.config.raised"

local M = {}

---"conf" of "conf/zerg.lua", "." of "zerg.lua", "/" of "/zerg.lua".
---@param path string
---@return string
function M.directory(path)
  local directory = path:match("^(.*)/[^/]*$")
  if directory == "" then
    return "/"
  end
  return directory or "."
end

---path as seen from where `directory` is seen from.
---@param directory string
---@param path string
---@return string
function M.join(directory, path)
  if path:sub(1, 1) == "/" or directory == "." then
    return path
  end
  return (directory:gsub("/$", "")) .. "/" .. path
end

local share -- gives the text that all states of one configuration have of a file; nil: it is alone
local read = {} -- paths that were read in this Lua state
local missed = {} -- modules for which require() found no file
local is_loading = true -- what handlers read later is read anew, and not noted

-- Where a module would have been found.
local function add_places(name, add)
  for template in package.path:gmatch("[^;]+") do
    add((template:gsub("%?", (name:gsub("%.", "/")))))
  end
end

---The files that were read in this Lua state, by require(), dofile() and loadfile() too, and where
---require() looked for modules that it did not find. All is loaded: what is read from now on is
---neither noted nor shared.
---@return string[]
function M.loaded()
  local paths, seen = {}, {}
  is_loading, share = false, nil
  local function add(path)
    if not seen[path] then
      seen[path] = true
      paths[#paths + 1] = path
    end
  end
  for path in pairs(read) do
    add(path)
  end
  for name in pairs(missed) do
    add_places(name, add)
  end
  table.sort(paths)
  return paths
end

---Has read() take what other states have read. For C.
---@param shared fun(path: string, text?: string): string|nil
function M.share_with(shared)
  share = shared
end

local function read_file(path)
  local file, reason = io.open(path, "rb")
  if not file then
    return nil, (reason:gsub("^.*: ", ""))
  end
  local text, read_reason = file:read("*a")
  file:close()
  return text, read_reason
end

---The whole text of a file, or nil and the reason without the path.
---@param path string
---@return string|nil text
---@return string|nil reason
function M.read(path)
  read[path] = true
  local text = share and share(path)
  if text then
    return text
  end
  local reason
  text, reason = read_file(path)
  if text and share then
    text = share(path, text)
  end
  return text, reason
end

-- The text without a first line that is for a shell.
local function without_shell_line(text)
  return (text:gsub("^#[^\n]*", ""))
end

---Compiles the text of a Lua file (a first line with #! is allowed, bytecode is not).
---@param text string
---@param path string names the file in messages and tracebacks
---@return function|nil chunk
---@return zerg.config.file_problem|nil
function M.compile(text, path)
  local chunk, message = load(without_shell_line(text), "@" .. path, "t")
  if chunk then
    return chunk
  end
  local _, line, rest = raised.split_message(message)
  return nil, { file = path, line = line, message = rest }
end

-- What Lua's own functions read is the same in all states, too, until all is loaded. Where a file
-- cannot be read, they say so themselves.

-- Behind the searcher of zerg's own modules.
table.insert(package.loaders, 2, function(name)
  if not is_loading or package.preload[name] then
    return nil
  end
  local path = package.searchpath(name, package.path)
  if not path then
    missed[name] = true
    return nil
  end
  local text = M.read(path)
  if not text then
    return nil
  end
  local chunk, message = load(without_shell_line(text), "@" .. path)
  if not chunk then
    error(("error loading module '%s' from file '%s':\n\t%s"):format(name, path, message), 0)
  end
  return chunk
end)

local load_file, do_file = loadfile, dofile

-- luacheck: push ignore 121
function loadfile(path, ...)
  local text = is_loading and type(path) == "string" and M.read(path)
  if not text then
    return load_file(path, ...)
  end
  return load(without_shell_line(text), "@" .. path, ...)
end

function dofile(path)
  if not is_loading or path == nil then
    return do_file(path)
  end
  return assert(loadfile(path))()
end
-- luacheck: pop

---The line of the chunk that is running, for errors that do not name one themselves.
---@param chunk function
---@return integer|nil
local function line_in(chunk)
  local source, level = debug.getinfo(chunk, "S").source, 2
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return nil
    elseif info.source == source and info.currentline > 0 then
      return info.currentline
    end
    level = level + 1
  end
end

---Runs the chunk of a file.
---@param chunk function
---@param path string the file, as it was compiled
---@return any value what it returned, nil after a problem
---@return zerg.config.file_problem|nil problem where it raised, in this file or another
---@return any second what it returned behind that
function M.run(chunk, path)
  local line, traceback
  local ok, value, second = xpcall(chunk, function(err)
    line, traceback = line_in(chunk), raised.own_calls(debug.traceback("", 2))
    return err
  end)
  if ok then
    return value, nil, second
  end
  local problem = raised.problem(value, chunk, path, line)
  problem.traceback = traceback
  return nil, problem
end

return M
