-- Commands for keys, whatever their values are: whether they are there, and for how long.

local deadline_of = require("kv.deadline").parse
local integer = require "kv.integer"
local registry = require "kv.registry"
local store = require "kv.store"

local int64 = require("ffi").typeof("int64_t")
local define = registry.define
local floor, lower = math.floor, string.lower

local OK, ZERO, ONE = "+OK\r\n", ":0\r\n", ":1\r\n"
local NO_KEYS, ONE_KEY, ALL_KEYS = { 0, 0, 0 }, { 1, 1, 1 }, { 1, -1, 1 }

--- Options of EXPIRE and its kind: only when the key has no deadline (nx), or has one (xx), or a
--- sooner (gt), or a later one (lt). Answers the error itself, and returns whether there was none.
local function parse_conditions(reply, words, count)
  local nx, xx, gt, lt = false, false, false, false
  for i = 4, count do
    local word = lower(words[i])
    nx, xx, gt, lt = nx or word == "nx", xx or word == "xx", gt or word == "gt", lt or word == "lt"
    if word ~= "nx" and word ~= "xx" and word ~= "gt" and word ~= "lt" then
      reply:error("Unsupported option " .. words[i])
      return false
    end
  end
  if nx and (xx or gt or lt) then
    reply:error("NX and XX, GT or LT options at the same time are not compatible")
    return false
  elseif gt and lt then
    reply:error("GT and LT options at the same time are not compatible")
    return false
  end
  return true, nx, xx, gt, lt
end

--- For EXPIRE and its kind. A key without a deadline counts as one that lasts for ever.
local function define_expire(name, unit, is_absolute)
  define(name, -3, "write fast", ONE_KEY, function(reply, words, count)
    local fine, nx, xx, gt, lt = parse_conditions(reply, words, count)
    if not fine then
      return
    end
    local now = store.now()
    local base = is_absolute and 0LL or int64(now)
    local at = deadline_of(reply, name, words[3], unit, base, integer.MIN)
    if not at then
      return
    end
    local key = words[2]
    local there = store.get(key) ~= nil
    local deadline, before = tonumber(at), store.deadline(key)
    local is_refused = nx and before
      or xx and not before
      or gt and not (before and deadline > before)
      or lt and before and deadline >= before
    if not there or is_refused then
      return reply:raw(ZERO)
    elseif deadline <= now then
      store.delete(key)
    else
      store.expire_at(key, deadline)
    end
    reply:raw(ONE)
  end)
end

define_expire("expire", 1000, false)
define_expire("pexpire", 1, false)
define_expire("expireat", 1000, true)
define_expire("pexpireat", 1, true)

local function define_ttl(name, unit, round)
  define(name, 2, "readonly fast", ONE_KEY, function(reply, words)
    local key = words[2]
    if not store.get(key) then
      return reply:raw(":-2\r\n")
    end
    local deadline = store.deadline(key)
    if not deadline then
      return reply:raw(":-1\r\n")
    end
    local left = deadline - store.now()
    reply:integer(left > 0 and floor((left + round) / unit) or 0)
  end)
end

define_ttl("ttl", 1000, 500)
define_ttl("pttl", 1, 0)

define("persist", 2, "write fast", ONE_KEY, function(reply, words)
  reply:raw(store.persist(words[2]) and ONE or ZERO)
end)

-- Keys --------------------------------------------------------------------------------------------

define("del", -2, "write", ALL_KEYS, function(reply, words, count)
  local deleted = 0
  for i = 2, count do
    if store.delete(words[i]) then
      deleted = deleted + 1
    end
  end
  reply:integer(deleted)
end)

define("exists", -2, "readonly fast", ALL_KEYS, function(reply, words, count)
  local found = 0
  for i = 2, count do
    if store.get(words[i]) then
      found = found + 1
    end
  end
  reply:integer(found)
end)

define("dbsize", 1, "readonly fast", NO_KEYS, function(reply)
  reply:integer(store.size())
end)

define("flushall", -1, "write", NO_KEYS, function(reply, words, count)
  local mode = count == 2 and lower(words[2])
  if count > 2 or mode and mode ~= "async" and mode ~= "sync" then
    return reply:error("syntax error")
  end
  store.clear()
  reply:raw(OK)
end)
