// The server behind zerg.lua: whatever one client says, all hear. node server.js PORT

const { WebSocketServer, WebSocket } = require("ws")

const PING_MS = 30 * 1000
const server = new WebSocketServer({ port: Number(process.argv[2] || 3000), host: "127.0.0.1" })

server.on("connection", (client) => {
  client.on("message", (data, isBinary) => {
    for (const other of server.clients)
      if (other.readyState === WebSocket.OPEN) other.send(data, { binary: isBinary })
  })
})

setInterval(() => {
  for (const client of server.clients) client.ping()
}, PING_MS)
