-- The conversation with one client: sends its requests to the shards, remembers in which order
-- answers are due, and from whom.
--
-- Requests are sent ahead of the answers, in batches: a client that sends ten requests at once
-- makes ten shards work at once. Nobody takes answers meanwhile, so there are bounds to that: a
-- shard that waits for us to take its answers, while we wait for it to take requests, would wait
-- for ever.

local answers = require "shard.answers"
local commands = require "shard.commands"
local links = require "shard.link"
local replies = require "kv.reply"
local slots = require "shard.slot"

local DUE_MAX = 1000 -- answers
local SENT_BYTES_MAX = 65536 -- far less than write_buffer_max: so no write to a shard has to wait

---@class shard.session
---@field conn zerg.conn the client
---@field reader zerg.reader
---@field is_over boolean
local Session = {}
Session.__index = Session

---@param conn zerg.conn
---@param targets string[] the shards
---@return shard.session
local function new(conn, targets)
  return setmetatable({
    conn = conn, reader = conn:reader(), reply = replies.new(conn), targets = targets,
    links = {}, -- to the shards that this batch needs, by their places
    due = {}, due_count = 0, sent = 0,
    is_over = false, is_broken = false,
  }, Session)
end

local function link_at(session, place)
  local link = session.links[place]
  if not link then
    link = links.open(session.targets[place])
    session.links[place] = link
  end
  return link
end

--- Takes the answers that are due, in the order of the requests.
function Session:collect()
  local due = self.due
  for i = 1, self.due_count do
    local entry = due[i]
    due[i] = nil
    if not self.is_broken then
      entry.answer(self, entry.link, entry.parts)
    end
  end
  self.due_count, self.sent = 0, 0
end

--- The batch is over.
function Session:settle()
  self:collect()
  for place = 1, #self.targets do
    local link = self.links[place]
    if link then
      link:give_back()
      self.links[place] = nil
    end
  end
end

--- Nothing more can be said to the client.
function Session:break_off()
  self.is_over, self.is_broken = true, true
end

--- The client has gone, or no longer makes sense: then the problem is said.
---@param problem string?
---@return nil
function Session:hang_up(problem)
  if problem then
    self:refuse("Protocol error: " .. problem)
  end
  self.is_over = true
  return nil
end

--- A mistake of the client.
---@param message string
function Session:refuse(message)
  self:collect()
  if not self.is_broken then
    self.reply:error(message)
    self.reply:commit()
  end
end

--- Begins a request to the shard of a key; end it by finish().
---@param key string
---@return shard.link
function Session:begin(key)
  local place = math.floor(slots.of(key) * #self.targets / slots.COUNT) + 1
  local link = link_at(self, place)
  link.owed = link.owed + 1
  return link
end

--- The request to `link` is complete.
---@param link shard.link
---@param bytes integer how long it was
---@param answer function of shard.answers
---@param parts shard.parts?
function Session:finish(link, bytes, answer, parts)
  self.due_count, self.sent = self.due_count + 1, self.sent + bytes
  self.due[self.due_count] = { link = link, answer = answer, parts = parts }
  if self.due_count >= DUE_MAX or self.sent >= SENT_BYTES_MAX then
    self:collect()
  end
end

--- What the parts of a request have in common.
---@param command kv.command
---@param count integer of parts
---@return shard.parts
function Session:parts(command, count)
  local head = command.answer == answers.element and "*" .. count .. "\r\n" or nil
  return { left = count, total = 0, head = head }
end

local function send_words(link, words, from, to, name)
  link:write("*", to - from + 2, "\r\n$", #name, "\r\n", name, "\r\n")
  local bytes = #name
  for i = from, to do
    link:write("$", #words[i], "\r\n", words[i], "\r\n")
    bytes = bytes + #words[i]
  end
  return bytes
end

local function send_everywhere(session, command, words, count)
  local parts = session:parts(command, #session.targets)
  for place = 1, #session.targets do
    local link = link_at(session, place)
    link.owed = link.owed + 1
    local bytes = send_words(link, words, 2, count, words[1])
    session:finish(link, bytes, command.answer, parts)
  end
end

local function send_parts(session, command, words, count)
  local step = command.keys[3]
  local parts = session:parts(command, (count - 1) / step)
  for i = 2, count, step do
    local link = session:begin(words[i])
    local bytes = send_words(link, words, i, i + step - 1, words[1])
    session:finish(link, bytes, command.answer, parts)
  end
end

local function answer_here(session, command, words, count)
  session:collect()
  if not session.is_broken then
    session.is_over = command.run(session.reply, words, count) or false
    session.reply:commit()
  end
end

--- Runs a request whose words are known.
---@param words string[]
---@param count integer
---@param raw ffi.cdata*? the request as it came, if it is at hand
---@param bytes integer? its length
function Session:run(words, count, raw, bytes)
  local command, mistake = commands.find(words[1], count)
  if not command then
    return self:refuse(mistake)
  elseif command.run then
    return answer_here(self, command, words, count)
  elseif command.keys[1] == 0 then
    return send_everywhere(self, command, words, count)
  elseif command.keys[2] == -1 then
    return send_parts(self, command, words, count)
  end
  local link = self:begin(words[2])
  if raw then
    link:write(raw, bytes)
  else
    bytes = send_words(link, words, 2, count, words[1])
  end
  self:finish(link, bytes, command.answer)
end

return { new = new }
