-- A chat: what one types, the others read.
--
--   zerg examples/chat.lua --reactors 1
--   nc 127.0.0.1 8080                        in two terminals; the first line is your name
--
-- A connection may be written to by any coroutine of its reactor, so the handler of one client
-- could write to all the others. But a client that does not read would then make everybody wait for
-- it. So each client has a queue, and a task of its own that empties it: talking means putting a
-- line into the queues, which never waits. A client whose queue is full has not read for a long
-- time, and is sent away.
--
-- Tables are local to a reactor: clients of another one would not hear. Hence --reactors 1.
--
-- This file may be changed while they talk: after `zerg reload` they are served by the new one, on
-- the same sockets, with their names. That is what `migrate` is for.

local zerg = require "zerg"

local QUEUE_LINES = 256
local LINE_BYTES_MAX = 1024

local clients = {} -- name → client

local leave

--- Puts a line into a client's queue, or sends the client away when it is full.
local function tell(client, line)
  if client.waiting == QUEUE_LINES then
    zerg.log.info("chat: %s does not read, sent away", client.name)
    leave(client)
    client.reader:cancel() -- its handler's read gives nil, and so the handler ends
    client.conn:abort() -- what was not sent yet is dropped
    return
  end
  client.waiting = client.waiting + 1
  client.queue:put(line)
end

local function tell_others(speaker, line)
  for _, client in pairs(clients) do
    if client ~= speaker then
      tell(client, line)
    end
  end
end

--- The writer task of a client: sends what is in its queue, at the pace of its peer.
local function write_lines(client)
  repeat
    repeat
      local line = client.queue:get() -- waits for a first one
      client.waiting = client.waiting - 1
      client.conn:write(line)
    until client.waiting == 0
  until not client.conn:flush() -- until the kernel has it all; nil when the peer is gone
end

--- The next line without blanks around it; nil when the peer is gone, or writes lines
--- without end.
local function read_line(reader)
  local line = reader:read_line(LINE_BYTES_MAX)
  return line and line:match("^%s*(.-)%s*$")
end

--- Reads lines until one is a name that is still free.
local function read_name(conn, reader)
  while true do
    local name = read_line(reader)
    if not name then
      return nil
    elseif not name:find("^%w+$") or #name > 20 then
      conn:write("Up to 20 letters and digits, please. Your name?\n")
    elseif clients[name] then
      conn:write("There is a ", name, " already. Your name?\n")
    else
      return name
    end
  end
end

local function add(conn, reader, name)
  local client = { conn = conn, reader = reader, name = name }
  client.queue, client.waiting = zerg.queue(QUEUE_LINES), 0 -- and how many lines are in it
  clients[name] = client
  client.writer = zerg.spawn(write_lines, client)
  conn.ctx.client = client -- for migrate()
  return client
end

local function join(conn, reader)
  local name = read_name(conn, reader)
  if not name then
    return nil
  end
  local client = add(conn, reader, name)
  tell(client, "Welcome, " .. name .. ". /who lists who is here, /quit leaves.\n")
  tell_others(client, "* " .. name .. " joined\n")
  return client
end

--- Takes a client off the list, if it is still there.
function leave(client)
  if clients[client.name] ~= client then
    return
  end
  clients[client.name] = nil
  client.writer:cancel()
  tell_others(client, "* " .. client.name .. " left\n")
end

local function who()
  local names = {}
  for name in pairs(clients) do
    names[#names + 1] = name
  end
  table.sort(names)
  return "* here: " .. table.concat(names, ", ") .. "\n"
end

local function talk(client)
  local reader = client.reader
  for line in read_line, reader do
    if line == "/quit" then
      break
    elseif line == "/who" then
      tell(client, who())
    elseif line ~= "" then
      tell_others(client, client.name .. ": " .. line .. "\n")
    end
    -- Whoever sends a thousand lines at once would fill the queues before any writer got to run:
    -- let them all have a turn after each line.
    zerg.sleep(0)
  end
  leave(client)
end

--- `state`: what migrate() of the version before gave, nil for a new connection.
local function serve(conn, state)
  local reader = conn:reader()
  if not state then
    conn:write("Your name?\n")
  end
  local client
  if state and state.name then
    client = add(conn, reader, state.name)
  else
    client = join(conn, reader)
  end
  if client then
    talk(client)
  end
end

--- Called while serve() waits for a line: what the next version has to know. The lines that its
--- writer has not sent yet go on their way now.
local function migrate(conn)
  local client = conn.ctx.client
  if not client then
    return {} -- who was asked for a name
  end
  while client.waiting > 0 do
    conn:write(client.queue:get())
    client.waiting = client.waiting - 1
  end
  return { name = client.name }
end

return { serve = serve, migrate = migrate }
