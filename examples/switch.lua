-- Several protocols on one port, told apart by how the client begins: HTTP, TLS and SSH, as behind
-- a firewall that lets one port through.
--
--   zerg examples/switch.lua
--   curl http://127.0.0.1:8080/
--   ssh -p 8080 127.0.0.1
--
-- In most protocols the client speaks first, and a few bytes tell which it is. In some the server
-- does (SMTP, MySQL), or either may (SSH): then a client that waits to be greeted says nothing, and
-- its silence is what tells it from the others.

local zerg = require "zerg"

local HTTP, TLS, SSH = "127.0.0.1:8000", "127.0.0.1:9443", "127.0.0.1:22"
local SILENT = SSH -- for clients that wait to be greeted

local SILENCE_SECONDS = 2

-- How clients begin. None of these is the beginning of another.
local BEGINNINGS = {
  { "SSH-", SSH },
  { "\22\3", TLS }, -- a handshake record of TLS 1.x, or of SSL 3
  { "PRI * HTTP/2", HTTP },
}
for method in ("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH"):gmatch("%u+") do
  table.insert(BEGINNINGS, { method .. " ", HTTP })
end

--- Who speaks like this.
---@param text string the first bytes of a client
---@return string? target
---@return boolean? is_open nobody yet, but more bytes may tell
local function recognize(text)
  local is_open = false
  for _, entry in ipairs(BEGINNINGS) do
    local beginning, target = entry[1], entry[2]
    if text:sub(1, #beginning) == beginning then
      return target
    end
    is_open = is_open or beginning:sub(1, #text) == text
  end
  return nil, is_open
end

--- Looks at the first bytes until they tell, and leaves them unread.
---@param conn zerg.conn
---@return string? target
---@return string? problem
local function choose(conn)
  local count = 0
  while true do
    local data, reason = conn:peek(count + 1)
    if not data then
      return count == 0 and reason == "timeout" and SILENT or nil, reason
    end
    local target, is_open = recognize(data:sub(1, 16))
    if not is_open then
      return target, "unknown protocol"
    end
    count = #data
  end
end

return function(conn)
  conn:timeout { read = SILENCE_SECONDS }
  local target, problem = choose(conn)
  if not target then
    zerg.log.debug("switch: %s: %s", conn.remote_addr, problem)
    return
  end
  local result, reason = conn:forward(target)
  if not result then
    zerg.log.warn("switch: %s: %s", target, reason)
  end
end
