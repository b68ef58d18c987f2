-- Routes TLS connections by the host name that the client asks for (SNI), without decrypting
-- anything: certificates and keys stay with the servers behind.
--
--   zerg examples/sni.lua -p 8443
--   openssl s_client -connect 127.0.0.1:8443 -servername www.example.org
--
-- The name stands in the first message of a TLS client, in clear. peek() looks at bytes and leaves
-- them unread, and forward() begins with what is unread: so the server gets the connection as if we
-- were not there. From then on C moves the bytes, and this handler is parked until both sides are
-- done.
--
-- sni/client_hello.lua finds the name. In a configuration with `upstreams`, a route may also be the
-- name of one of these.

local client_hello = require "sni.client_hello"
local zerg = require "zerg"

local ROUTES = {
  ["www.example.org"] = "127.0.0.1:9443",
  ["*.api.example.org"] = "127.0.0.1:9444", -- one label in place of the star
}
local DEFAULT = "127.0.0.1:9445" -- for other names, and for clients that give none; nil: refuse

local HELLO_SECONDS = 3 -- for the whole ClientHello, however it comes

-- A record of two bytes: a fatal alert, and which (RFC 8446, 6.2).
local ALERT = "\21\3\3\0\2\2"
local DECODE_ERROR, INTERNAL_ERROR, UNRECOGNIZED_NAME = "\50", "\80", "\112"

---@param name string?
---@return string? target
local function route(name)
  return name and (ROUTES[name] or ROUTES[name:gsub("^[^.]*", "*", 1)]) or DEFAULT
end

return function(conn)
  local name, problem = zerg.deadline(HELLO_SECONDS, client_hello.read, conn)
  if problem == "malformed" or problem == "too long" then
    conn:write(ALERT, DECODE_ERROR)
    return
  elseif problem then
    return -- it does not speak TLS, and would not understand an alert
  end
  local target = route(name)
  if not target then
    conn:write(ALERT, UNRECOGNIZED_NAME)
    return
  end
  local result, reason = conn:forward(target)
  if not result then
    zerg.log.warn("sni: %s for %s: %s", target, name or "no name", reason)
    conn:write(ALERT, INTERNAL_ERROR)
  end
end
