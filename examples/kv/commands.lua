-- Runs requests. The commands themselves stand in connection.lua, strings.lua and keys.lua.

local memory = require "kv.memory"
local registry = require "kv.registry"

require "kv.connection"
require "kv.keys"
require "kv.strings"

local find, fits = registry.find, registry.fits

local SHOWN_MAX = 128 -- of what nobody knows, in an error message

--- The beginning of a word as Redis shows it in errors: up to a zero byte.
local function shown(word, max)
  return word:match("^[^%z]*"):sub(1, max)
end

local function unknown(reply, words, count)
  local arguments = ""
  for i = 2, count do
    if #arguments >= SHOWN_MAX then
      break
    end
    arguments = arguments .. "'" .. shown(words[i], SHOWN_MAX - #arguments) .. "' "
  end
  local name = shown(words[1], SHOWN_MAX)
  reply:error("unknown command '" .. name .. "', with args beginning with: " .. arguments)
end

--- Runs a request and writes its answer.
---@param reply kv.reply
---@param words string[]
---@param count integer how many of `words` belong to the request, at least 1
---@return boolean? is_over the connection is to be closed
local function run(reply, words, count)
  local command = find(words[1])
  if not command then
    return unknown(reply, words, count)
  elseif not fits(command.arity, count) then
    return registry.wrong_arity(reply, command.name)
  elseif command.grows and memory.is_full and memory.is_still_full() then
    return reply:raw(memory.REFUSAL)
  end
  return command.run(reply, words, count)
end

return { run = run }
