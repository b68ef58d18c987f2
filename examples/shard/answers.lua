-- Takes the answers of shards and gives the client its own. Each function takes exactly one answer
-- of `link`; `parts` is what the parts of a request that was split have in common.

local carry = require "shard.carry"

local byte, sub = string.byte, string.sub

local BULK, ARRAY, INTEGER, ERROR, STATUS = 36, 42, 58, 45, 43 -- $ * : - +

---@class shard.parts
---@field left integer parts that were not answered yet
---@field total integer of the numbers that the shards answered
---@field head string? what goes before the first part
---@field problem string? the first error

local M = {}

--- Passes on what follows the first line of an answer.
---@return true? ok nil: the shard or the client broke off
local function pass_body(client, link, line)
  local kind, count = byte(line), tonumber(sub(line, 2))
  if kind == BULK and count >= 0 then
    return carry.carry(link.reader, link.conn, client, count + 2)
  end
  for _ = 1, kind == ARRAY and count or 0 do
    local element = link:read_line()
    if not element then
      return nil
    end
    client:write(element, "\r\n")
    if not pass_body(client, link, element) then
      return nil
    end
  end
  return true
end

local function pass_from(session, link, line)
  session.conn:write(line or link:problem_line(), "\r\n")
  if not line then
    return
  elseif pass_body(session.conn, link, line) then
    link.owed = link.owed - 1
  else
    session:break_off() -- in the middle of an answer, nothing else can be said
  end
end

--- Passes an answer on as it is.
function M.pass(session, link)
  pass_from(session, link, link:read_line())
end

--- Passes on the only element of an array, as one of many elements: a part of MGET.
---@param parts shard.parts
function M.element(session, link, parts)
  if parts.head then
    session.conn:write(parts.head)
    parts.head = nil
  end
  local line = link:read_line()
  if line == "*1" then
    line = link:read_line()
  end
  pass_from(session, link, line)
end

--- With the last part of a request the client gets an answer: the first error, or `answer`.
local function finish_part(session, parts, answer)
  parts.left = parts.left - 1
  if parts.left == 0 then
    session.conn:write(parts.problem or answer, "\r\n")
  end
end

--- A line of the answer of a part. Errors are kept in `parts`.
local function take_line(link, parts, wanted)
  local line = link:read_line()
  if line and (byte(line) == wanted or byte(line) == ERROR) then
    link.owed = link.owed - 1
  elseif line then
    link:fail("unexpected answer")
  end
  if not line or byte(line) ~= wanted then
    parts.problem = parts.problem or link.problem and link:problem_line() or line
    return nil
  end
  return line
end

--- Adds numbers up: a part of DEL, EXISTS.
---@param parts shard.parts
function M.sum(session, link, parts)
  local line = take_line(link, parts, INTEGER)
  parts.total = parts.total + (line and tonumber(sub(line, 2)) or 0)
  finish_part(session, parts, ":" .. parts.total)
end

--- All have to agree: a part of MSET.
---@param parts shard.parts
function M.agree(session, link, parts)
  take_line(link, parts, STATUS)
  finish_part(session, parts, "+OK")
end

return M
