-- Answers in RESP2, the protocol of Redis, written straight into the connection's write slab.
--
-- A reply object reserves a block of the slab, lets one answer after the other fill it, and commits
-- what was filled when the block is full or the batch is over: a batch of small answers costs one
-- reserve and one commit. Each connection has its own, because committing a lot may park, and other
-- connections are served meanwhile.

local ffi = require "ffi"

local copy, floor, format = ffi.copy, math.floor, string.format

local BLOCK_BYTES = 2048 -- reserved at a time, unless one answer needs more
local BIG_BYTES = 16384 -- longer values are left to conn:write
local HEADER_BYTES = 24 -- the longest "$length\r\n"
local CR, LF, ZERO = 13, 10, 48
local ARRAY, BULK, INTEGER = 42, 36, 58 -- * $ :

---@class kv.reply
local Reply = {}
Reply.__index = Reply

--- Room for `n` bytes, n being at most BIG_BYTES and HEADER_BYTES and a line end. What is written
--- there counts when `used` is moved past it. nil when the connection is dead: answers then go
--- nowhere.
local function room(reply, n)
  if reply.used + n <= reply.size then
    return reply.block + reply.used
  end
  reply:commit()
  local size = n > BLOCK_BYTES and n or BLOCK_BYTES
  local block = reply.conn:reserve(size)
  if not block then
    return nil
  end
  reply.block, reply.size = block, size
  return block
end

--- Writes the line `mark` `n` `\r\n`, n being a whole number from 0, and returns its length.
local function put_header(out, mark, n)
  local at = 2
  out[0] = mark
  if n < 10 then
    out[1] = ZERO + n
  elseif n < 100 then
    local tens = floor(n / 10)
    out[1], out[2] = ZERO + tens, ZERO + n - 10 * tens
    at = 3
  else
    local digits = format("%d", n)
    copy(out + 1, digits, #digits)
    at = 1 + #digits
  end
  out[at], out[at + 1] = CR, LF
  return at + 2
end

local function header(reply, mark, n)
  local out = room(reply, HEADER_BYTES)
  if out then
    reply.used = reply.used + put_header(out, mark, n)
  end
end

---@param conn zerg.conn
---@return kv.reply
local function new(conn)
  return setmetatable({ conn = conn, block = false, used = 0, size = 0 }, Reply)
end

--- Stages what was written. To be called before the handler parks anywhere else; may park itself.
function Reply:commit()
  local used = self.used
  self.used, self.size = 0, 0
  if used > 0 then
    self.conn:commit(used)
  end
end

--- An answer that stands ready in RESP.
---@param text string
function Reply:raw(text)
  local n = #text
  if n > BIG_BYTES then
    self:commit()
    self.conn:write(text)
    return
  end
  local out = room(self, n)
  if out then
    copy(out, text, n)
    self.used = self.used + n
  end
end

---@param value string
function Reply:bulk(value)
  local n = #value
  if n > BIG_BYTES then
    return self:big_bulk(value)
  end
  local out = room(self, n + HEADER_BYTES + 2)
  if out then
    local at = put_header(out, BULK, n)
    copy(out + at, value, n)
    out[at + n], out[at + n + 1] = CR, LF
    self.used = self.used + at + n + 2
  end
end

---@param value string
function Reply:big_bulk(value)
  header(self, BULK, #value)
  self:commit()
  self.conn:write(value, "\r\n")
end

--- The answer "there is no such value".
function Reply:null()
  self:raw("$-1\r\n")
end

---@param value string|nil
function Reply:bulk_or_null(value)
  if value then
    self:bulk(value)
  else
    self:null()
  end
end

---@param n integer a number from 0 to 2^53
function Reply:integer(n)
  header(self, INTEGER, n)
end

--- Opens an array: its `n` elements are the next n answers.
---@param n integer
function Reply:array(n)
  header(self, ARRAY, n)
end

--- An error; line ends in the message, which may show what a client sent, become blanks.
---@param message string
function Reply:error(message)
  local line = message:match("^[\r\n]*(.-)[\r\n]*$"):gsub("[\r\n]", " ")
  self:raw("-ERR " .. line .. "\r\n")
end

return { new = new }
