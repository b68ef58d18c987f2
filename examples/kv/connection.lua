-- Commands for the connection and about the server.

local registry = require "kv.registry"

local define, wrong_arity = registry.define, registry.wrong_arity
local lower, upper = string.lower, string.upper

local NO_KEYS = { 0, 0, 0 }

define("ping", -1, "fast", NO_KEYS, function(reply, words, count)
  if count == 1 then
    reply:raw("+PONG\r\n")
  elseif count == 2 then
    reply:bulk(words[2])
  else
    wrong_arity(reply, "ping")
  end
end)

define("echo", 2, "fast", NO_KEYS, function(reply, words)
  reply:bulk(words[2])
end)

define("quit", -1, "fast", NO_KEYS, function(reply)
  reply:raw("+OK\r\n")
  return true
end)

local function hang_up()
  return true
end

-- The first words of what a web page may be made to send to our port: hang up, before the rest of
-- it is taken for commands.
define("post", -1, "", NO_KEYS, hang_up)
define("host:", -1, "", NO_KEYS, hang_up)

-- COMMAND and CONFIG have commands of their own ---------------------------------------------------

--- What COMMAND tells about one command, in the form clients have understood since Redis 2.8.
---@param command kv.command?
local function describe(reply, command)
  if not command then
    return reply:raw("*-1\r\n")
  end
  reply:array(6)
  reply:bulk(command.name)
  reply:raw(":" .. command.arity .. "\r\n")
  local _, flag_count = command.flags:gsub("%S+", "")
  reply:array(flag_count)
  for flag in command.flags:gmatch("%S+") do
    reply:raw("+" .. flag .. "\r\n")
  end
  for i = 1, 3 do
    reply:raw(":" .. command.keys[i] .. "\r\n")
  end
end

local function describe_all(reply)
  reply:array(#registry.list)
  for _, command in ipairs(registry.list) do
    describe(reply, command)
  end
end

local function command_count(reply)
  reply:integer(#registry.list)
end

local function command_info(reply, words, count)
  if count == 2 then
    return describe_all(reply)
  end
  reply:array(count - 2)
  for i = 3, count do
    describe(reply, registry.find(words[i]))
  end
end

-- What redis-benchmark asks, to show it: nothing here is written to disk.
local SETTINGS = { save = "", appendonly = "no" }

local function config_get(reply, words, count)
  local found = {}
  for i = 3, count do
    local name = lower(words[i])
    if SETTINGS[name] then
      found[#found + 1] = words[i]
      found[#found + 1] = SETTINGS[name]
    end
  end
  reply:array(#found)
  for _, text in ipairs(found) do
    reply:bulk(text)
  end
end

local subcommands = {
  ["command|count"] = { arity = 2, run = command_count },
  ["command|info"] = { arity = -2, run = command_info },
  ["config|get"] = { arity = -3, run = config_get },
}

local function run_subcommand(reply, words, count)
  local name = lower(words[1]) .. "|" .. lower(words[2])
  local subcommand = subcommands[name]
  if not subcommand then
    local shown = words[2]:match("^[^%z]*"):sub(1, 128)
    reply:error("unknown subcommand '" .. shown .. "'. Try " .. upper(words[1]) .. " HELP.")
  elseif not registry.fits(subcommand.arity, count) then
    wrong_arity(reply, name)
  else
    subcommand.run(reply, words, count)
  end
end

define("command", -1, "", NO_KEYS, function(reply, words, count)
  if count == 1 then
    return describe_all(reply)
  end
  run_subcommand(reply, words, count)
end)

define("config", -2, "admin", NO_KEYS, run_subcommand)
