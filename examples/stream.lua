-- The stream: a connection with the methods of a Lua file. A little note board.
--
--   zerg examples/stream.lua
--   nc 127.0.0.1 8080
--   put shopping 12          then 12 bytes, line ends included: milk, bread
--   get shopping
--   list
--   quit
--
-- stream:read("*l") reads a line, read(n) up to n bytes, read("*a") all there is; lines() iterates;
-- write() and close() do what they do with files. This is the easiest way to talk over a
-- connection. It costs one copy, into Lua strings; the other examples show how to do without.

local NOTE_BYTES_MAX = 64 * 1024
local NOTES_MAX = 1000

local notes, note_count = {}, 0 -- shared by all connections of one reactor

local commands = {}

function commands.put(stream, name, size)
  size = tonumber(size)
  if name == "" or not size or size < 0 or size > NOTE_BYTES_MAX then
    return "error: put NAME SIZE"
  end
  local text = size == 0 and "" or stream:read(size)
  if not text or #text < size then
    return nil -- the peer left in the middle of its note
  elseif not notes[name] and note_count == NOTES_MAX then
    return "error: the board is full"
  end
  note_count = note_count + (notes[name] and 0 or 1)
  notes[name] = text
  return "ok"
end

function commands.get(_, name)
  local text = notes[name]
  return text and #text .. "\n" .. text or "error: no such note"
end

function commands.list()
  local names = {}
  for name in pairs(notes) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, " ")
end

return function(conn)
  local stream = conn:stream()
  for line in stream:lines() do
    local name, first, second = line:match("^(%S+)%s*(%S*)%s*(%S*)")
    local command = commands[name]
    if name == "quit" then
      break
    end
    if not command then
      stream:write("error: unknown command\n")
    else
      local answer = command(stream, first, second)
      if not answer then
        break
      end
      stream:write(answer, "\n")
    end
  end
  stream:close()
end
