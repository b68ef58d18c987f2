-- The reader: a line protocol on top of a byte stream. Each line is answered with its length and
-- its words reversed.
--
--   zerg examples/reader.lua
--   nc 127.0.0.1 8080
--   the quick brown fox
--
-- A stream knows no messages: a line may come in ten pieces, or ten lines in one. The reader keeps
-- what was not yet consumed. read() gives all of it; advance(consumed, examined) then says how many
-- bytes are done with, and how many were looked at in vain: the next read() waits until there is
-- more than that. Nothing is copied on the way.
--
-- For lines there is reader:read_line(), which does just this; it is spelled out here to show how
-- one writes such a thing.

local LINE_MAX = 4096

local function reversed(line)
  local words = {}
  for word in line:gmatch("%S+") do
    table.insert(words, 1, word)
  end
  return table.concat(words, " ")
end

--- Answers the whole lines in `data`; returns how many bytes these are.
local function answer_lines(conn, data)
  local from = 1
  local newline = data:find("\n")
  while newline do
    local line = data:sub(from, newline - 1):gsub("\r$", "")
    conn:write(#line, " ", reversed(line), "\n")
    from = newline + 1
    newline = data:find("\n", from)
  end
  return from - 1
end

return function(conn)
  local reader = conn:reader()
  while true do
    local data = reader:read()
    if not data then
      return -- end of the stream; conn.reason says why
    end
    local consumed = answer_lines(conn, data)
    if #data - consumed > LINE_MAX then
      conn:write("line too long\n")
      return
    end
    -- The rest is the beginning of a line: keep it, and come back when it has grown.
    reader:advance(consumed, #data)
  end
end
