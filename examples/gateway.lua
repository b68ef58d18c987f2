-- An API gateway: who may ask, how often, which server answers, and under which name.
--
--   zerg examples/gateway.lua --http
--   curl -H 'X-Api-Key: demo-key' http://127.0.0.1:8080/v1/users/7
--
-- A request that passes is forwarded by C, with its body and its answer as they come: the handler
-- only decides. What it refuses never gets to a server.

local zerg = require("zerg")

-- The front of a path, the servers behind it, and what they know the path as.
local SERVICES = {
  { path = "/v1/users/", server = "127.0.0.1:3001", becomes = "/users/" },
  { path = "/v1/orders/", server = "127.0.0.1:3002", becomes = "/orders/" },
}

-- Who has which key, and how much they may ask: so many requests a second, so many at once after a
-- pause. A reactor counts for itself: with four of them a client may have four times as many.
local CLIENTS = {
  ["demo-key"] = { name = "demo", rate = 5, burst = 10 },
  ["batch-key"] = { name = "batch", rate = 100, burst = 200 },
}

-- A bucket of tokens for each client: a request takes one, time puts them back.
local function take_token(client)
  local now = zerg.now()
  local tokens = client.tokens or client.burst
  tokens = math.min(client.burst, tokens + (now - (client.seen or now)) * client.rate)
  client.seen = now
  client.tokens = tokens >= 1 and tokens - 1 or tokens
  return tokens >= 1, (1 - tokens) / client.rate
end

-- The service of a request, and the path as that knows it. req.path has neither escapes nor dot
-- segments, so nobody gets past a rule by writing it in another way; what goes on is the path as it
-- came, where it is written plainly.
local function find_service(req)
  local raw = req.target:match("^[^?]*")
  local is_plain = not (raw:lower():gsub("%%2e", ".") .. "/"):find("/%.%.?/")
  for _, service in ipairs(SERVICES) do
    local is_its = req.path:sub(1, #service.path) == service.path
    if is_its and is_plain and raw:sub(1, #service.path) == service.path then
      return service, service.becomes .. raw:sub(#service.path + 1)
    end
  end
  return nil
end

return function(req, res)
  local client = CLIENTS[req.headers["x-api-key"] or ""]
  if not client then
    return res:status(401):json({ problem = "X-Api-Key is missing or unknown" })
  end
  local may_ask, wait = take_token(client)
  if not may_ask then
    res:header("Retry-After", math.ceil(wait))
    return res:status(429):json({ problem = "too many requests" })
  end
  local service, path = find_service(req)
  if not service then
    return res:status(404):json({ problem = "there is no " .. req.path })
  end
  local result, reason = req:forward(service.server, {
    path = path,
    headers = { ["X-Api-Key"] = false, ["X-Client"] = client.name },
    response_headers = { Server = false, ["X-Powered-By"] = false },
  })
  if not result then -- the client gets 502, 503 or 504, as we give no other answer
    zerg.log.warn("%s for %s: %s", service.server, client.name, reason)
  end
end
