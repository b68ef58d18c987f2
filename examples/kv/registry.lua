-- The table of commands. The groups (connection, keys, strings) define theirs here when they load.

local lower, upper = string.lower, string.upper

---@class kv.command
---@field name string in lower case
---@field arity integer how many words a request has, the name included; negative: that many or more
---@field flags string what COMMAND tells about it
---@field keys integer[] places of its first and last key among the words, and the step between keys
---@field grows boolean it may need more memory
---@field run fun(reply: kv.reply, words: string[], count: integer): boolean?

local M = {}

---@type kv.command[]
M.list = {}

-- In lower and in upper case, so that hardly ever anybody has to call lower().
local by_name = {}

--- `run` gets the reply to write to, the words of the request, and how many these are. It returns
--- true to end the conversation.
---@param name string
---@param arity integer
---@param flags string
---@param keys integer[]
---@param run fun(reply: kv.reply, words: string[], count: integer): boolean?
function M.define(name, arity, flags, keys, run)
  local command = { name = name, arity = arity, flags = flags, keys = keys, run = run }
  command.grows = flags:find("denyoom") ~= nil
  M.list[#M.list + 1] = command
  by_name[name], by_name[upper(name)] = command, command
end

---@param name string in any case
---@return kv.command?
function M.find(name)
  return by_name[name] or by_name[lower(name)]
end

---@param arity integer
---@param count integer of words
---@return boolean
function M.fits(arity, count)
  return count == arity or arity < 0 and count >= -arity
end

---@param reply kv.reply
---@param name string
function M.wrong_arity(reply, name)
  reply:error("wrong number of arguments for '" .. name .. "' command")
end

return M
