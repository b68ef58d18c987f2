-- The handlers/hello.lua that `zerg init` writes.

return [==[
-- Greets whoever connects, line by line. Try it:  nc 127.0.0.1 8080
--
-- The handler runs in a coroutine of its own for each connection. A call that has to wait parks
-- that coroutine and nothing else. What happens outside (the peer goes away, a time-out) is a
-- return value: nil and a reason.

return function(conn)
  local stream = conn:stream()
  stream:write("What is your name?\n")
  for name in stream:lines() do
    if name == "" then
      break
    end
    stream:write("Hello, ", name, "! Another name, or an empty line to leave.\n")
  end
  stream:write("Goodbye.\n")
  -- The connection is closed, once everything is sent, when the handler returns.
end
]==]
