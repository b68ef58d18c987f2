-- Spreads the keys of a key-value service over several servers: a client sees one, and each key
-- lives on the server that its hash says. Works with kv.lua, with Redis, and with their clients.
--
--   zerg examples/kv.lua -p 6381 --reactors 1           and the same with 6382 and 6383
--   zerg examples/shard.lua -p 6380
--   redis-cli -p 6380 set greeting hello
--
-- A relay chooses a server for each connection; this chooses one for each request. Connections to
-- the shards are borrowed from the reactor's pool for a batch of requests and given back, so a
-- thousand clients need few of them. Values that are large go through conn:relay() and never come
-- to Lua. MGET, DEL, EXISTS, TOUCH, UNLINK and MSET are split into a part for each key, which are
-- not atomic together; what can be neither sent to one shard nor split is refused.
--
-- The parts: shard/commands.lua says what goes where, shard/session.lua sends it,
-- shard/answers.lua takes the answers, shard/piecewise.lua is for what is long, and shard/link.lua
-- for what is borrowed. Requests are read by kv/request.lua.
--
-- A key stays where it is only as long as SHARDS stays as it is.

local piecewise = require "shard.piecewise"
local requests = require "kv.request"
local sessions = require "shard.session"

local SHARDS = { "127.0.0.1:6381", "127.0.0.1:6382", "127.0.0.1:6383" }

local SHORT_BYTES = 4096 -- requests up to this are parsed where they are; others go word by word

--- Runs the short requests that are whole in one received piece of memory.
---@return integer used bytes they took
local function run_short(session, view, words)
  local ptr, len = view.ptr, view.len
  local at = 0
  while at < len and not session.is_over do
    local count, past = requests.parse(ptr, at, math.min(len, at + SHORT_BYTES), words)
    if count == 0 then
      break
    end
    session:run(words, count, ptr + at, past - at)
    at = past
  end
  return at
end

return function(conn)
  local session = sessions.new(conn, SHARDS)
  local words = {} -- of the request at hand, used again for each
  while not session.is_over do
    local data = session.reader:read()
    if not data then
      break
    end
    -- Only the first piece: what is in the next one may have begun in this one.
    local next_view, pieces = data:views()
    local used = run_short(session, next_view(pieces), words)
    session.reader:advance(used)
    if used == 0 then
      piecewise.run(session)
    end
    session:settle()
  end
  if session.is_broken then
    conn:abort()
  end
end
