-- The keys of one reactor, with their values and deadlines.
--
-- A key whose deadline has passed is dropped when it is next asked for, and by a sweep that walks a
-- bounded number of keys at a time, so that keys nobody asks for do not stay for ever. The sweep
-- runs only while there are keys with a deadline: a server without them sleeps.

local memory = require "kv.memory"
local zerg = require "zerg"

local floor = math.floor

local KEY_BYTES = 64 -- what a key costs besides the bytes of key and value, about
local SWEEP_SECONDS = 0.1
local SLICE_KEYS = 200 -- looked at in one step of a sweep
local SLICES_MAX = 20 -- steps of one sweep

local M = {}

local values = {} -- key → value
local size = 0 -- how many keys

-- Keys with a deadline stand in a list without gaps, in no order, so that a sweep can go on where
-- it stopped.
local timed = {} -- place → key
local deadlines = {} -- place → milliseconds of wall clock
local places = {} -- key → place
local timed_size = 0

local sweeper -- the task of zerg.every, while there is something to sweep
local sweep_place = 1

--- Wall clock in whole milliseconds.
---@return integer
function M.now()
  return floor(zerg.time() * 1000)
end

local function forget_deadline(key, place)
  local last = timed[timed_size]
  timed[place], deadlines[place], places[last] = last, deadlines[timed_size], place
  timed[timed_size], deadlines[timed_size], places[key] = nil, nil, nil
  timed_size = timed_size - 1
end

local function drop(key)
  values[key] = nil
  size = size - 1
  local place = places[key]
  if place then
    forget_deadline(key, place)
  end
end

---@param key string
---@return string|nil
function M.get(key)
  local place = places[key]
  if place and deadlines[place] <= M.now() then
    drop(key)
    return nil
  end
  return values[key]
end

local function put(key, value)
  if values[key] == nil then
    size = size + 1
  end
  values[key] = value
  memory.wrote(#key + #value + KEY_BYTES)
end

--- Sets the value of a key that then has no deadline.
---@param key string
---@param value string
function M.set(key, value)
  put(key, value)
  local place = places[key]
  if place then
    forget_deadline(key, place)
  end
end

--- Sets the value of a key that keeps the deadline it has.
---@param key string
---@param value string
function M.replace(key, value)
  M.get(key) -- which drops it when it is due, and its deadline with it
  put(key, value)
end

---@param key string
---@return boolean was_there
function M.delete(key)
  local was_there = M.get(key) ~= nil
  if was_there then
    drop(key)
  end
  return was_there
end

---@param key string
---@return integer|nil deadline milliseconds of wall clock; nil: the key has none
function M.deadline(key)
  local place = places[key]
  return place and deadlines[place]
end

--- Looks at up to SLICE_KEYS keys; true when so many of them were due that the next slice is worth
--- a look.
local function sweep_slice(now)
  local dropped = 0
  for _ = 1, SLICE_KEYS do
    if sweep_place > timed_size then
      sweep_place = 1
      return false
    end
    if deadlines[sweep_place] <= now then
      drop(timed[sweep_place]) -- another key takes its place
      dropped = dropped + 1
    else
      sweep_place = sweep_place + 1
    end
  end
  return dropped > SLICE_KEYS / 4
end

local function sweep()
  local now = M.now()
  for _ = 1, SLICES_MAX do
    if not sweep_slice(now) then
      break
    end
  end
  if timed_size == 0 then
    local task = sweeper
    sweeper = nil
    task:cancel()
  end
end

--- Gives a key that is there a deadline.
---@param key string
---@param deadline integer milliseconds of wall clock
function M.expire_at(key, deadline)
  local place = places[key]
  if not place then
    timed_size = timed_size + 1
    place = timed_size
    timed[place], places[key] = key, place
  end
  deadlines[place] = deadline
  sweeper = sweeper or zerg.every(SWEEP_SECONDS, sweep)
end

--- Takes a key's deadline away.
---@param key string
---@return boolean had_one
function M.persist(key)
  local place = M.get(key) and places[key]
  if place then
    forget_deadline(key, place)
  end
  return place ~= nil
end

--- How many keys there are; those that are due and were not found out yet count.
---@return integer
function M.size()
  return size
end

function M.clear()
  values, size = {}, 0
  timed, deadlines, places, timed_size = {}, {}, {}, 0
end

return M
