-- What a script raised, as a problem with file and line and as text for who wrote the script.

local M = {}

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

---The problem of what a function of a file raised. The file is named as it was compiled, which Lua
---shortens, and also when the error names no place.
---@param err any
---@param fn function
---@param path string the file of fn
---@param line? integer where fn was, for errors that name no place
---@return zerg.config.file_problem
function M.problem(err, fn, path, line)
  local file, own_line, message = M.split_message(tostring(err))
  if not file or file == debug.getinfo(fn, "S").short_src then
    file, own_line = path, own_line or line
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
