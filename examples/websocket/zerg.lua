-- A site and its WebSocket on one port: pages come from a handler, /chat is passed to a server.
--
--   node examples/websocket/server.js 3000      needs the package ws (Debian: node-ws)
--   zerg run -c examples/websocket/zerg.lua
--   then open http://127.0.0.1:8080/ twice
--
-- A WebSocket begins as an HTTP request with Upgrade. zerg passes it on, and when the server agrees
-- with 101, relays the two connections until both sides have closed. Nothing has to be switched on.

local PAGE = [[
<!doctype html>
<title>chat</title>
<ul id="said"></ul>
<input id="say" autofocus>
<script>
  const socket = new WebSocket(`ws://${location.host}/chat`)
  socket.onmessage = (event) => {
    const line = document.createElement("li")
    line.textContent = event.data
    said.append(line)
  }
  say.onchange = () => { socket.send(say.value); say.value = "" }
</script>
]]

return {
  listeners = {
    {
      port = 8080,
      protocol = "http",
      routes = {
        { path = "/chat", forward = "chat" },
        {
          path = "/",
          handler = function(_, res)
            res:header("Content-Type", "text/html; charset=utf-8"):send(PAGE)
          end,
        },
      },
      timeouts = { idle = "1h" }, -- of what is relayed: the server pings more often than that
    },
  },
  upstreams = {
    chat = { servers = { "127.0.0.1:3000" } },
  },
}
