-- A relay that looks into what passes: a word in what the server says is blacked out, and the lines
-- of the client are counted.
--
--   zerg examples/filter.lua
--   nc 127.0.0.1 8080                        with any text server on port 7000 behind it
--
-- forward() can show the bytes of each direction to a function, in pieces as they come; what this
-- returns goes on in their place. Returning the piece itself costs nothing: it is passed on without
-- a copy. So the filter below makes a string only of a piece in which something is to be changed.
--
-- Pieces end anywhere, also in the middle of the word. The end of a piece that may be its beginning
-- is therefore kept back until more has come, or the stream is over: then `down_end` gives what is
-- left. Lines do not end in the middle of a word, so no answer has to wait for the next.

local zerg = require "zerg"

local SERVER = "127.0.0.1:7000"
local WORD = "secret" -- letters only: it also serves as a pattern
local BLACK = ("#"):rep(#WORD) -- as long, so that a protocol that counts bytes still counts right

--- How many bytes at the end of `data` may be the beginning of the word.
---@param data zerg.seq|string
---@return integer
local function open_bytes(data)
  for count = math.min(#WORD - 1, #data), 1, -1 do
    if data:sub(-count) == WORD:sub(1, count) then
      return count
    end
  end
  return 0
end

--- A filter for one direction of one connection, and what is to be called at its end.
local function censor()
  local kept = "" -- not sent yet
  local function filter(data)
    if kept == "" and not data:find(WORD) and open_bytes(data) == 0 then
      return data
    end
    local text = (kept .. tostring(data)):gsub(WORD, BLACK)
    local count = open_bytes(text)
    kept = text:sub(#text - count + 1)
    return text:sub(1, #text - count)
  end
  local function finish()
    return kept
  end
  return filter, finish
end

return function(conn)
  local lines = 0
  local function count_lines(data)
    local at = data:find("\n")
    while at do
      lines, at = lines + 1, data:find("\n", at + 1)
    end
    return data
  end
  local down, down_end = censor()
  local result, reason = conn:forward(SERVER, {
    filter = { up = count_lines, down = down, down_end = down_end },
  })
  if not result then
    return conn:write("No answer from ", SERVER, ": ", reason, "\n")
  end
  zerg.log.info("%d lines in %d bytes up, %d bytes down", lines, result.bytes_up, result.bytes_down)
end
