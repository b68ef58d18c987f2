-- Requests that are long, or not all there yet: read and passed on word by word. Only the command
-- and its key become strings, for they say where it goes; what follows is carried to the shard as
-- it comes, so that a value of any size needs no memory here.

local carry = require "shard.carry"
local commands = require "shard.commands"
local requests = require "kv.request"

local STRING_BYTES_MAX = 65536 -- of a word that becomes a string
local WORDS_MAX = 64 -- in a request of which all words do

--- The next word as a string, "" when it is too long for that. nil: the conversation is over.
---@return string? word
---@return boolean? is_too_long
local function read_string(session)
  local reader = session.reader
  local length, problem = requests.read_length(reader)
  if not length then
    return session:hang_up(problem)
  elseif length > STRING_BYTES_MAX then
    return reader:skip(length + 2) and "" or session:hang_up(), true
  end
  local data = reader:read_exactly(length)
  local word = data and tostring(data)
  return word and reader:skip(2) and word or session:hang_up()
end

--- Reads over `count` words.
---@return boolean ok
local function skip_words(session, count)
  for _ = 1, count do
    local length, problem = requests.read_length(session.reader)
    if not length or not session.reader:skip(length + 2) then
      session:hang_up(problem)
      return false
    end
  end
  return true
end

local function refuse(session, left, message)
  if skip_words(session, left) then
    session:refuse(message)
  end
end

--- Passes the next word on. When the shard cannot take it, it is read over: the shard's problem is
--- then the answer.
---@return boolean ok
local function carry_word(session, link)
  local reader = session.reader
  local length, problem = requests.read_length(reader)
  if not length then
    session:hang_up(problem)
    return false
  end
  if length > carry.FEW_BYTES then
    session:collect() -- a shard with nothing to say is sure to listen
  end
  session.sent = session.sent + length
  link:write("$", length, "\r\n")
  local left = length + 2
  if not link.problem then
    local ok, reason, moved = carry.carry(reader, session.conn, link.conn, left)
    if ok then
      return true
    end
    link:fail(reason)
    left = left - moved
  end
  if not reader:skip(left) then
    session:hang_up()
    return false
  end
  return true
end

--- Sends `name`, a key, and the `count` words after it as one request to the key's shard.
---@return boolean ok
local function send(session, command, name, count, parts)
  local key, is_too_long = read_string(session)
  if not key then
    return false
  end
  local link = session:begin(key)
  if is_too_long then
    link:fail("key is too long")
  end
  link:write("*", 2 + count, "\r\n$", #name, "\r\n", name, "\r\n$", #key, "\r\n", key, "\r\n")
  for _ = 1, count do
    if not carry_word(session, link) then
      return false
    end
  end
  session:finish(link, #key, command.answer, parts)
  return true
end

--- Reads all words, then runs the request as one that was short.
local function run_whole(session, command, name, count)
  if count > WORDS_MAX then
    return refuse(session, count - 1, "too many arguments for '" .. command.name .. "' command")
  end
  local words, is_too_long = { name }, false
  for i = 2, count do
    local is_long
    words[i], is_long = read_string(session)
    if not words[i] then
      return
    end
    is_too_long = is_too_long or is_long
  end
  if is_too_long then
    return session:refuse("too long an argument for '" .. command.name .. "' command")
  end
  session:run(words, count)
end

local function run_array(session)
  local count, problem = requests.read_count(session.reader)
  if not count then
    return session:hang_up(problem)
  elseif count < 1 then
    return
  end
  local name = read_string(session)
  if not name then
    return
  end
  local command, mistake = commands.find(name, count)
  if not command then
    return refuse(session, count - 1, mistake)
  elseif command.keys[1] == 0 then
    return run_whole(session, command, name, count)
  elseif command.keys[2] == 1 then
    return send(session, command, name, count - 2)
  end
  local step = command.keys[3]
  local parts = session:parts(command, (count - 1) / step)
  for _ = 1, parts.left do
    if not send(session, command, name, step - 1, parts) then
      return
    end
  end
end

local function run_line(session)
  local words, count = requests.read(session.reader)
  if not words then
    return session:hang_up(count)
  elseif count > 0 then
    session:run(words, count)
  end
end

--- Runs the next request, of any kind. Parks until it is there.
---@param session shard.session
local function run(session)
  local data = session.reader:read()
  if not data then
    return session:hang_up()
  end
  local is_array = data:byte(1) == ("*"):byte()
  session.reader:advance(0)
  if is_array then
    run_array(session)
  else
    run_line(session)
  end
end

return { run = run }
