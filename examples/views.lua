-- Raw views, the closest a script gets to the metal: ROT13 without one Lua string.
--
--   zerg examples/views.lua
--   echo "Hello, World" | nc -q 1 127.0.0.1 8080          → Uryyb, Jbeyq
--
-- wait() parks until bytes are there. Each view is then one piece as the kernel received it,
-- `view.len` bytes at `view.ptr`, a `const uint8_t *` to read from. reserve() is the other side:
-- room in the connection's write slab, a `uint8_t *` to write to, and commit() stages what was
-- written there. LuaJIT compiles the loop in between to machine code that moves bytes from one to
-- the other.

local RESERVE_MAX = 65536 -- the most that reserve() gives at a time

local A, Z, a, z = 65, 90, 97, 122 -- the codes of these letters

--- Turns a letter into the one 13 places further on, and leaves all else as it is.
local function rot13(byte)
  if byte >= A and byte <= Z then
    return (byte - A + 13) % 26 + A
  elseif byte >= a and byte <= z then
    return (byte - a + 13) % 26 + a
  end
  return byte
end

return function(conn)
  while conn:wait() do -- nil when the peer has gone: the loop ends, and with it the connection
    for view in conn:views() do
      local ptr, len = view.ptr, view.len -- once: each look checks that the view is still valid
      for start = 0, len - 1, RESERVE_MAX do
        local count = math.min(len - start, RESERVE_MAX)
        local out, reason = conn:reserve(count)
        if not out then
          return nil, reason
        end
        for i = 0, count - 1 do
          out[i] = rot13(ptr[start + i])
        end
        conn:commit(count)
      end
      view:release() -- this buffer can be received into again; the next wait() would do it as well
    end
  end
end
