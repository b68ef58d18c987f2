-- Echo: everything that comes in goes out again.
--
--   zerg examples/echo.lua
--   echo hello | nc -q 1 127.0.0.1 8080
--
-- A handler is an ordinary function that gets one connection. reads() waits until bytes have
-- arrived and ends with the connection; waiting parks this handler only, thousands of others go on.
-- `data` is a sequence of views: the bytes still lie where the kernel put them, and write() takes
-- it as it is, without making a Lua string of it. What was written is sent when the handler waits
-- again.

return function(conn)
  for data in conn:reads() do
    conn:write(data)
  end
end
