-- How much the store may hold. The scripts of a reactor share script_memory_max bytes, and whoever
-- asks for more gets an error. So that it does not come to this, requests that would add data are
-- refused before, as Redis does it with `maxmemory`: when what lives takes more than half of
-- that, for a table that grows needs room for two of it.

local zerg = require "zerg"

local LOOK_BYTES = 1024 * 1024 -- written from one look to the next
local LOOK_SECONDS = 1 -- from one look to the next while all is full
local COLLECT_SHARE, FULL_SHARE = 0.6, 0.55 -- of what there is, with garbage and without
local WORD_BYTES_MIN = 64 * 1024 -- shorter words are not worth a look

local bytes_max = zerg.config.script_memory_max
local written = 0
local looked_at = 0

local M = {}

M.is_full = false
M.REFUSAL = "-OOM command not allowed when used memory > 'maxmemory'.\r\n"

local function used()
  return collectgarbage("count") * 1024
end

local function look()
  written, looked_at, M.is_full = 0, zerg.now(), false
  if used() > bytes_max * COLLECT_SHARE then
    collectgarbage()
    M.is_full = used() > bytes_max * FULL_SHARE
  end
end

--- Counts bytes that were stored.
---@param count integer
function M.wrote(count)
  written = written + count
  if written > LOOK_BYTES then
    look()
  end
end

--- To be asked when `is_full` says so: whether it still is.
---@return boolean
function M.is_still_full()
  if zerg.now() - looked_at > LOOK_SECONDS then
    look()
  end
  return M.is_full
end

--- Whether a word of so many bytes can be read, which needs them twice for a moment.
---@param count integer
---@return boolean
function M.has_room(count)
  if count < WORD_BYTES_MIN or used() + 2 * count < bytes_max * 0.9 then
    return true
  end
  collectgarbage()
  return used() + 2 * count < bytes_max * 0.9
end

return M
