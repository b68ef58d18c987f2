-- A binary protocol with length-prefixed frames, read without a parser: the reader knows numbers.
--
--   zerg examples/binary.lua
--
-- All numbers are big-endian. A request is
--     u32 length of what follows, u8 operation, payload
-- with operation 1: echo, 2: upper case, 3: the sum of i32 numbers; and an answer
--     u32 length of what follows, u8 status, payload
-- with status 0: fine, 1: unknown operation, 2: the payload does not suit the operation, 3: the
-- request is too long. After an error the payload is a text that says so. A request that is too
-- long also ends the connection: its length is probably no length at all.
--
-- A client in Python:
--     import socket, struct
--     sock = socket.create_connection(("127.0.0.1", 8080))
--     def ask(operation, payload):
--         sock.sendall(struct.pack(">IB", 1 + len(payload), operation) + payload)
--         length, status = struct.unpack(">IB", sock.recv(5, socket.MSG_WAITALL))
--         return status, sock.recv(length - 1, socket.MSG_WAITALL)
--     status, payload = ask(3, struct.pack(">3i", 1, 2, -10))
--     print(status, struct.unpack(">q", payload))            # 0 (-7,)

local FRAME_BYTES_MAX = 1024 * 1024
local FINE, UNKNOWN_OPERATION, BAD_PAYLOAD, TOO_LONG = 0, 1, 2, 3

local band, rshift, char = bit.band, bit.rshift, string.char

local function u32(n)
  local high, low = rshift(n, 16), band(n, 65535)
  return char(rshift(high, 8), band(high, 255), rshift(low, 8), band(low, 255))
end

--- A whole number of up to 2^53 in two's complement.
local function i64(n)
  return u32(math.floor(n / 2 ^ 32)) .. u32(n % 2 ^ 32)
end

local function answer(conn, status, payload)
  conn:write(u32(1 + #payload), char(status), payload)
end

-- Operations: each takes `size` bytes of payload from the reader, and answers. When the peer is
-- gone, the reader gives nil; the next read of the handler will find that out as well.
local operations = {}

operations[1] = function(conn, reader, size)
  local payload = reader:read_exactly(size)
  return payload and answer(conn, FINE, payload) -- as it came in, without becoming a string
end

operations[2] = function(conn, reader, size)
  local payload = reader:read_exactly(size)
  return payload and answer(conn, FINE, tostring(payload):upper())
end

operations[3] = function(conn, reader, size)
  if size % 4 ~= 0 then
    reader:skip(size)
    return answer(conn, BAD_PAYLOAD, "a sum takes numbers of 4 bytes")
  end
  local sum = 0
  for _ = 1, size / 4 do
    local n = reader:i32()
    if not n then
      return nil
    end
    sum = sum + n
  end
  answer(conn, FINE, i64(sum))
end

return function(conn)
  local reader = conn:reader()
  while true do
    local length = reader:u32()
    if not length then
      return -- end of the stream
    elseif length == 0 or length > FRAME_BYTES_MAX then
      return answer(conn, TOO_LONG, "a request has 1 to " .. FRAME_BYTES_MAX .. " bytes")
    end
    local code, size = reader:u8(), length - 1
    if not code then
      return
    end
    local operation = operations[code]
    if operation then
      operation(conn, reader, size)
    else
      reader:skip(size)
      answer(conn, UNKNOWN_OPERATION, "there is no operation " .. code)
    end
  end
end
