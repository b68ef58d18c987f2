-- A connection to a shard, borrowed from the reactor's pool for as long as one batch of requests
-- takes. It keeps count of the answers that the shard owes: a connection goes back to the pool only
-- when none is missing, or the next one who borrows it would get our answers.
--
-- Once something has gone wrong, `problem` says what, and nothing more is done with it.

local zerg = require "zerg"

local CONNECT_SECONDS, ANSWER_SECONDS = 1, 10
local LINE_BYTES_MAX = 65536
local NUMBER_DIGITS_MAX = 10

---@class shard.link
---@field target string
---@field conn zerg.conn?
---@field reader zerg.reader?
---@field owed integer answers to requests that were begun
---@field problem string?
local Link = {}
Link.__index = Link

---@param target string
---@return shard.link
local function open(target)
  local link = setmetatable({ target = target, owed = 0 }, Link)
  local conn, reason = zerg.connect(target, { connect_timeout = CONNECT_SECONDS })
  if conn then
    conn:timeout { read = ANSWER_SECONDS }
    link.conn, link.reader = conn, conn:reader()
  else
    link.problem = reason
  end
  return link
end

---@param problem string
function Link:fail(problem)
  self.problem = self.problem or problem
end

--- Writes a part of a request.
function Link:write(...)
  if not self.problem then
    local ok, reason = self.conn:write(...)
    if not ok then
      self:fail(reason)
    end
  end
end

--- The next line of an answer; nil when there is a problem.
---@return string? line without its line end
function Link:read_line()
  if self.problem then
    return nil
  end
  local line, reason = self.reader:read_line(LINE_BYTES_MAX)
  if not line then
    return self:fail(reason)
  end
  local is_counted = line:find("^[$*]%-?%d+$") and #line <= 1 + NUMBER_DIGITS_MAX
  if not is_counted and not line:find("^[-+:]") then
    return self:fail("no answer in RESP")
  end
  return line
end

--- The problem as an answer to a client.
---@return string
function Link:problem_line()
  return "-ERR shard " .. self.target .. ": " .. self.problem
end

--- The batch is over.
function Link:give_back()
  if self.conn and (self.problem or self.owed > 0) then
    self.conn:abort()
  elseif self.conn then
    self.conn:keepalive()
  end
end

return { open = open }
