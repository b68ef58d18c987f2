-- The ClientHello, with which a TLS client begins (RFC 8446, 4.1.2): finds the host name in it,
-- without consuming a byte, so that all of it is still there for the server.
--
-- A ClientHello is a handshake message, and travels in one or more records of at most 16 KiB, cut
-- anywhere; and a record may arrive in any pieces. So `read` peeks at one record after the other
-- and puts the message together; `server_name` then takes it apart. The latter is strict: what no
-- TLS server would take is refused here as well.

local byte, sub = string.byte, string.sub

local HANDSHAKE, CLIENT_HELLO, SERVER_NAME, HOST_NAME = 22, 1, 0, 0 -- codes of TLS
local RECORD_HEAD, MESSAGE_HEAD = 5, 4 -- bytes
local RECORD_BYTES_MAX = 16384
local RECORDS_MAX = 64
local HELLO_BYTES_MAX = 32768 -- browsers send 2 KB, most of it keys

--- The vector at position `at`: a length of `width` bytes, then so many bytes.
---@return string? content nil: it is not all there
---@return integer? past where what follows it starts
local function vector(text, at, width)
  if not at or at + width - 1 > #text then
    return nil
  end
  local length = 0
  for i = at, at + width - 1 do
    length = 256 * length + byte(text, i)
  end
  local past = at + width + length
  if past - 1 > #text then
    return nil
  end
  return sub(text, at + width, past - 1), past
end

--- The name in the data of a server_name extension (RFC 6066, 3), which has one and nothing else.
---@return string? name in lower case; nil: malformed
local function name_of(data)
  local list, past = vector(data, 1, 2)
  if not list or past <= #data or byte(list, 1) ~= HOST_NAME then
    return nil
  end
  local name, rest = vector(list, 2, 2)
  if not name or rest <= #list or #name > 255 or not name:find("^[%w_-][%w_.-]*$") then
    return nil
  end
  return name:lower()
end

--- The name in a list of extensions.
---@return string? name nil: there is none, or:
---@return string? problem
local function find_name(extensions)
  local name, at = nil, 1
  while at <= #extensions do
    local data, past = vector(extensions, at + 2, 2)
    if not data then
      return nil, "malformed"
    end
    if byte(extensions, at) * 256 + byte(extensions, at + 1) == SERVER_NAME then
      if name then
        return nil, "malformed" -- no extension comes twice
      end
      name = name_of(data)
      if not name then
        return nil, "malformed"
      end
    end
    at = past
  end
  return name
end

--- The host name that a ClientHello asks for.
---@param hello string the message without its head
---@return string? name in lower case; nil: it asks for none, or:
---@return string? problem "malformed"
local function server_name(hello)
  local session, suites, compression, extensions, at
  session, at = vector(hello, 35, 1) -- after the version and 32 random bytes
  suites, at = vector(hello, at, 2)
  compression, at = vector(hello, at, 1)
  local is_well_formed = byte(hello, 1) == 3 and compression and compression ~= ""
    and #session <= 32 and suites ~= "" and #suites % 2 == 0
  if is_well_formed and at > #hello then
    return nil -- a very old client, without extensions
  end
  extensions, at = vector(hello, at, 2)
  if not is_well_formed or not extensions or at <= #hello then
    return nil, "malformed"
  end
  return find_name(extensions)
end

--- The content of the record that begins after `start` unread bytes. Parks until it is there.
---@param conn zerg.conn
---@param start integer
---@return string? content
---@return string? problem
local function peek_record(conn, start)
  local seq, reason = conn:peek(start + 1)
  if seq and seq:byte(start + 1) ~= HANDSHAKE then
    return nil, "not TLS" -- which is known at the first byte; more of them may never come
  end
  if seq then
    seq, reason = conn:peek(start + RECORD_HEAD)
  end
  if not seq then
    return nil, reason
  end
  local _, major, _, high, low = seq:byte(start + 1, start + RECORD_HEAD)
  local length = 256 * high + low
  if major ~= 3 or length == 0 or length > RECORD_BYTES_MAX then
    return nil, "not TLS"
  end
  seq, reason = conn:peek(start + RECORD_HEAD + length)
  if not seq then
    return nil, reason
  end
  return seq:sub(start + RECORD_HEAD + 1, start + RECORD_HEAD + length)
end

--- How long the message is that begins with `text`, its head included; nil: that is not known yet.
---@return integer? length
---@return string? problem
local function message_length(text)
  local kind, high, mid, low = byte(text, 1, MESSAGE_HEAD)
  if kind ~= CLIENT_HELLO then
    return nil, "malformed"
  elseif not low then
    return nil
  end
  local length = MESSAGE_HEAD + 65536 * high + 256 * mid + low
  if length > HELLO_BYTES_MAX then
    return nil, "too long"
  end
  return length
end

--- Peeks at the ClientHello that a connection begins with. Parks until all of it is there.
---@param conn zerg.conn
---@return string? name of the host that the client asks for, in lower case; nil: none, or:
---@return string? problem "not TLS", "malformed", "too long", or why no more can be read
local function read(conn)
  local message, start = "", 0
  for _ = 1, RECORDS_MAX do
    local content, problem = peek_record(conn, start)
    if not content then
      return nil, problem
    end
    start = start + RECORD_HEAD + #content
    message = message .. content
    local length
    length, problem = message_length(message)
    if problem then
      return nil, problem
    elseif length and #message > length then
      return nil, "malformed" -- a client has nothing more to say before it is answered
    elseif length == #message then
      return server_name(sub(message, MESSAGE_HEAD + 1))
    end
  end
  return nil, "too long"
end

return { read = read, server_name = server_name }
