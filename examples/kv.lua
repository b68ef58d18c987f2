-- A key-value server that speaks RESP2, the protocol of Redis: redis-cli, redis-benchmark and
-- client libraries work with it. Strings only, with expiry; see kv/commands.lua for what it knows.
--
--   zerg examples/kv.lua -p 6380 --reactors 1
--   redis-cli -p 6380 set greeting hello
--
-- The data lives in Lua tables of one reactor, and nothing is written to disk. With several
-- reactors each has data of its own, and which one a client meets is chance: so run it with
-- --reactors 1.
--
-- The parts: kv/request.lua reads requests, kv/commands.lua runs them on kv/store.lua, kv/reply.lua
-- writes answers.

local commands = require "kv.commands"
local memory = require "kv.memory"
local replies = require "kv.reply"
local requests = require "kv.request"
local zerg = require "zerg"

--- Answers all whole requests in one received piece of memory.
---@return integer used bytes they took
---@return boolean? is_over the connection is to be closed
local function answer_view(view, reply, words)
  local ptr, len = view.ptr, view.len
  local at, is_over = 0, nil
  while at < len and not is_over do
    local count, past = requests.parse(ptr, at, len, words)
    if count == 0 then
      break
    end
    is_over = commands.run(reply, words, count)
    at = past
  end
  reply:commit()
  return at, is_over
end

--- Reads and answers one request that parse() did not take.
---@return boolean? is_over the connection is to be closed
local function answer_next(reader, reply)
  local words, count, is_refused = requests.read(reader)
  local is_over = not words
  if not words and count then
    reply:error("Protocol error: " .. count)
  elseif is_refused then
    reply:raw(memory.REFUSAL)
  elseif words and count > 0 then
    is_over = commands.run(reply, words, count)
  end
  reply:commit()
  return is_over
end

--- Once per reactor.
local function start()
  if zerg.reactors > 1 then
    zerg.log.warn("kv: reactor %d has data of its own; run with --reactors 1", zerg.reactor)
  end
end

local function serve(conn)
  local reader, reply = conn:reader(), replies.new(conn)
  local words = {} -- of the request at hand, used again for each
  local used, is_over
  repeat
    local data = reader:read()
    if not data then
      return
    end
    -- Only the first piece: what is in the next one may have begun in this one.
    local next_view, pieces = data:views()
    used, is_over = answer_view(next_view(pieces), reply, words)
    reader:advance(used)
    if used == 0 then
      is_over = answer_next(reader, reply)
    end
  until is_over
end

return { serve = serve, start = start }
