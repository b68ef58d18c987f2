-- Which commands there are, and how they get to the shards. What kv.connection defines (PING, ECHO,
-- QUIT, COMMAND, CONFIG) is answered here; all others have an `answer`, the function that takes the
-- answers of shards, and go
--   to the shard of their only key                            keys = { 1, 1, 1 }
--   in parts, one for each key, to the shard of that key      keys = { 1, -1, 1 or 2 }
--   to every shard                                            keys = { 0, 0, 0 }
--
-- Commands with several keys that cannot be split, like RENAME or SUNION, and those that concern a
-- connection, like MULTI, SUBSCRIBE or BLPOP, are unknown.

local answers = require "shard.answers"
local registry = require "kv.registry"

require "kv.connection"

local function define(names, arity, keys, answer)
  for name in names:gmatch("%S+") do
    registry.define(name, arity, "", keys, nil)
    registry.find(name).answer = answer
  end
end

define([[
  append bitcount decr decrby get getbit getdel getex getrange getset incr incrby incrbyfloat psetex
  set setbit setex setnx setrange strlen
  expire expireat expiretime persist pexpire pexpireat pexpiretime pttl ttl type
  hdel hexists hget hgetall hincrby hkeys hlen hmget hmset hset hsetnx hstrlen hvals
  lindex linsert llen lpop lpush lpushx lrange lrem lset ltrim rpop rpush rpushx
  sadd scard sismember smembers smismember spop srandmember srem
  zadd zcard zcount zincrby zpopmax zpopmin zrange zrangebyscore zrank zrem zrevrange zrevrank
  zscore
]], -2, { 1, 1, 1 }, answers.pass)

define("mget", -2, { 1, -1, 1 }, answers.element)
define("del exists touch unlink", -2, { 1, -1, 1 }, answers.sum)
define("mset", -3, { 1, -1, 2 }, answers.agree)
define("dbsize", 1, { 0, 0, 0 }, answers.sum)
define("flushall flushdb", -1, { 0, 0, 0 }, answers.agree)

--- The command of a request. nil: there is a mistake in it.
---@param name string
---@param count integer of words
---@return kv.command?
---@return string? mistake
local function find(name, count)
  local command = registry.find(name)
  if not command then
    return nil, "unknown command '" .. name:sub(1, 128) .. "', or one that cannot be sharded"
  end
  local step = command.keys[3]
  local is_whole = command.keys[2] ~= -1 or (count - 1) % step == 0
  if not registry.fits(command.arity, count) or not is_whole then
    return nil, "wrong number of arguments for '" .. command.name .. "' command"
  end
  return command
end

return { find = find }
