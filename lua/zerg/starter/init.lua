-- `zerg init`: a commented configuration and a first handler, written where there is none yet.

local ffi = require "ffi"

local config_text = require "zerg.starter.config_text"
local files = require "zerg.config.files"
local hello_text = require "zerg.starter.hello_text"

ffi.cdef [[
int mkdir(const char *path, unsigned int mode);
char *strerror(int error);
]]

local M = {}

local EEXIST = 17
local DIRECTORY_MODE = tonumber("0755", 8)

---What is written: paths below the directory, in order, directories before what is in them.
M.files = {
  { path = "zerg.lua", text = config_text },
  { path = "handlers", directory = true },
  { path = "handlers/hello.lua", text = hello_text },
}

---@param path string
---@return string|nil reason nil when it is there now
local function make_directory(path)
  if ffi.C.mkdir(path, DIRECTORY_MODE) == 0 or ffi.errno() == EEXIST then
    return nil
  end
  local reason = ffi.string(ffi.C.strerror(ffi.errno()))
  return ("cannot make the directory %s: %s"):format(path, reason)
end

---@param path string
---@param text string
---@return string|nil reason
local function write_file(path, text)
  local file, reason = io.open(path, "w")
  if not file then
    return "cannot write " .. reason
  end
  local ok, write_reason = file:write(text)
  local closed, close_reason = file:close()
  if not ok or not closed then
    return ("cannot write %s: %s"):format(path, write_reason or close_reason)
  end
  return nil
end

---The first file of ours that is there already.
---@param directory string
---@return string|nil
local function existing(directory)
  for _, entry in ipairs(M.files) do
    local path = files.join(directory, entry.path)
    local file = not entry.directory and io.open(path, "r")
    if file then
      file:close()
      return path
    end
  end
  return nil
end

---Writes the starter into `directory`, which is made when its parent is there. Overwrites nothing.
---@param directory string
---@return string[]|nil paths of the files written
---@return string|nil message
---@return boolean|nil exists a file was there already, so none was written
function M.write(directory)
  local found = existing(directory)
  if found then
    return nil, ("%s exists already: nothing was written"):format(found), true
  end
  local reason = make_directory(directory)
  local written = {}
  for _, entry in ipairs(M.files) do
    local path = files.join(directory, entry.path)
    if reason then
      return nil, reason, false
    elseif entry.directory then
      reason = make_directory(path)
    else
      reason = write_file(path, entry.text)
      written[#written + 1] = path
    end
  end
  if reason then
    return nil, reason, false
  end
  return written
end

return M
