-- What a script raised, as a problem with file and line and as text for who wrote the script, who
-- is not to read of zerg's own modules there.

local values = require "zerg.config.values"

local M = {}

-- zerg's own modules have chunk names like this one's.
local OWN_FOLDER = debug.getinfo(1, "S").short_src:match("^(.*)config/raised%.lua$")
local DETAILS = { "code", "message" } -- what tables that are raised often have

---@class zerg.config.file_problem
---@field file? string none: the file that was to be read could not be
---@field line? integer
---@field message string
---@field traceback? string of what raised

---"x.lua:12: what" as its three parts; nil and the whole message when no line stands in front.
---@param message string
---@return string|nil file
---@return integer|nil line
---@return string message
function M.split_message(message)
  local file, line, rest = message:match("^([^\n]-):(%d+): (.*)$")
  if not file then
    return nil, nil, message
  end
  return file, tonumber(line), rest
end

---What a raised value that is no string says of itself.
---@param err any
---@return string
local function detail(err)
  local metatable = debug.getmetatable(err)
  if type(metatable) == "table" and rawget(metatable, "__tostring") then
    local ok, text = pcall(tostring, err)
    return ok and ": " .. text or ""
  end
  local parts = {}
  for _, key in ipairs(type(err) == "table" and DETAILS or {}) do
    local value = rawget(err, key)
    if value ~= nil then
      parts[#parts + 1] = ("%s = %s"):format(key, values.show(value))
    end
  end
  return #parts > 0 and (" (%s)"):format(table.concat(parts, ", ")) or ""
end

---@param err any
---@return string
function M.message(err)
  if type(err) == "string" then
    return err
  end
  return "an error that is " .. values.show(err) .. detail(err)
end

local function is_own(frame)
  return frame:sub(2, #OWN_FOLDER + 1) == OWN_FOLDER
end

local function is_native(frame)
  return frame ~= nil and frame:sub(2, 5) == "[C]:"
end

---The calls that the script was in, for the message handler of the xpcall that runs it; nil: it was
---in no more than the one that the problem names.
---@param traceback string as debug.traceback() gives it
---@return string|nil
function M.own_calls(traceback)
  local frames, count = {}, 0
  for frame in traceback:gmatch("\t[^\n]*") do
    if is_own(frame) then
      count = #frames -- what called zerg's modules is the script's, what they were called by is not
    else
      frames[#frames + 1] = frame
    end
  end
  while count > 0 and is_native(frames[count]) do
    count = count - 1
  end
  local first = 1
  while is_native(frames[first]) do
    first = first + 1
  end
  return count > first and "stack traceback:\n" .. table.concat(frames, "\n", first, count) or nil
end

---The problem of what a function of a file raised. The file is named as it was compiled, which Lua
---shortens, and also when the error names no place.
---@param err any
---@param fn function
---@param path string the file of fn, or that has it as a hook
---@param line? integer where fn was, for errors that name no place
---@return zerg.config.file_problem
function M.problem(err, fn, path, line)
  local file, own_line, message = M.split_message(M.message(err))
  local info = debug.getinfo(fn, "S")
  local is_of_file = info.source == "@" .. path -- a hook may be a function of another
  if not file then
    file, own_line = path, is_of_file and line or nil
  elseif is_of_file and file == info.short_src then
    file = path
  end
  return { file = file, line = own_line, message = message }
end

---"file:line: message", and the traceback if there is one.
---@param problem zerg.config.file_problem
---@return string
function M.text(problem)
  local place = problem.file and problem.file .. ":" or ""
  place = place .. (problem.line and problem.line .. ":" or "")
  local text = place ~= "" and place .. " " .. problem.message or problem.message
  return problem.traceback and text .. "\n" .. problem.traceback or text
end

return M
