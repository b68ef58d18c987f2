-- Commands for values: strings, and numbers written as strings.

local deadline_of = require("kv.deadline").parse
local integer = require "kv.integer"
local registry = require "kv.registry"
local store = require "kv.store"

local int64 = require("ffi").typeof("int64_t")
local define = registry.define
local lower = string.lower

local OK = "+OK\r\n"
local ONE_KEY, ALL_KEYS, PAIRS = { 1, 1, 1 }, { 1, -1, 1 }, { 1, -1, 2 }

define("get", 2, "readonly fast", ONE_KEY, function(reply, words)
  reply:bulk_or_null(store.get(words[2]))
end)

-- How many milliseconds the options of SET count in, and which do not count from now.
local UNITS = { ex = 1000, px = 1, exat = 1000, pxat = 1 }
local ABSOLUTE = { exat = true, pxat = true }

--- The options of SET: whether they are right, then what they say. Answers the error itself.
local function parse_set_options(reply, words, count)
  local only, gives_old, keeps_deadline, unit, time
  local i = 4
  while i <= count do
    local word = lower(words[i])
    if (word == "nx" or word == "xx") and (only == nil or only == word) then
      only = word
    elseif word == "get" then
      gives_old = true
    elseif word == "keepttl" and not unit then
      keeps_deadline = true
    elseif UNITS[word] and (unit or word) == word and not keeps_deadline and i < count then
      i = i + 1
      unit, time = word, words[i]
    else
      reply:error("syntax error")
      return false
    end
    i = i + 1
  end
  return true, only, gives_old, keeps_deadline, unit, time
end

local function set_deadline(reply, unit, time)
  local base = ABSOLUTE[unit] and 0LL or int64(store.now())
  return deadline_of(reply, "set", time, UNITS[unit], base, 1)
end

local function set_with_options(reply, words, count)
  local fine, only, gives_old, keeps_deadline, unit, time = parse_set_options(reply, words, count)
  local deadline = unit and set_deadline(reply, unit, time)
  if not fine or unit and not deadline then
    return
  end
  local key, value = words[2], words[3]
  local old = store.get(key)
  if gives_old then
    reply:bulk_or_null(old)
  end
  if only == "nx" and old or only == "xx" and not old then
    if not gives_old then
      reply:null()
    end
    return
  end
  if keeps_deadline then
    store.replace(key, value)
  else
    store.set(key, value)
  end
  if deadline then
    store.expire_at(key, tonumber(deadline))
  end
  if not gives_old then
    reply:raw(OK)
  end
end

define("set", -3, "write denyoom", ONE_KEY, function(reply, words, count)
  if count > 3 then
    return set_with_options(reply, words, count)
  end
  store.set(words[2], words[3])
  reply:raw(OK)
end)

define("mget", -2, "readonly fast", ALL_KEYS, function(reply, words, count)
  reply:array(count - 1)
  for i = 2, count do
    reply:bulk_or_null(store.get(words[i]))
  end
end)

define("mset", -3, "write denyoom", PAIRS, function(reply, words, count)
  if count % 2 == 0 then
    return registry.wrong_arity(reply, "mset")
  end
  for i = 2, count, 2 do
    store.set(words[i], words[i + 1])
  end
  reply:raw(OK)
end)

-- Counters ----------------------------------------------------------------------------------------

--- Adds `by` (int64_t) to the number that stands at `key`.
local function add(reply, key, by)
  local value = integer.parse(store.get(key) or "0")
  if not value then
    return reply:error(integer.PROBLEM)
  end
  if by > 0 and value > integer.MAX - by or by < 0 and value < integer.MIN - by then
    return reply:error("increment or decrement would overflow")
  end
  local sum = integer.format(value + by)
  store.replace(key, sum)
  reply:raw(":" .. sum .. "\r\n")
end

define("incr", 2, "write denyoom fast", ONE_KEY, function(reply, words)
  add(reply, words[2], 1LL)
end)

define("decr", 2, "write denyoom fast", ONE_KEY, function(reply, words)
  add(reply, words[2], -1LL)
end)

define("incrby", 3, "write denyoom fast", ONE_KEY, function(reply, words)
  local by = integer.parse(words[3])
  if not by then
    return reply:error(integer.PROBLEM)
  end
  add(reply, words[2], by)
end)

define("decrby", 3, "write denyoom fast", ONE_KEY, function(reply, words)
  local by = integer.parse(words[3])
  if not by then
    return reply:error(integer.PROBLEM)
  elseif by == integer.MIN then
    return reply:error("decrement would overflow")
  end
  add(reply, words[2], -by)
end)
