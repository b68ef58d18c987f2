-- An A/B test: a tenth of the visitors gets the new version of a site, and keeps it.
--
--   zerg examples/split.lua --http
--   curl -i http://127.0.0.1:8080/
--   curl -i -H 'Cookie: version=new' http://127.0.0.1:8080/
--
-- Who has no cookie yet gets one with the answer. A visitor whose version is down sees the other.

local zerg = require("zerg")

local SERVERS = { old = "127.0.0.1:3001", new = "127.0.0.1:3002" }
local SHARE_OF_NEW = 0.1
local COOKIE = "version"
local COOKIE_SECONDS = 30 * 24 * 3600

-- The version that a Cookie header names, nil: none that there is.
local function version_of(cookies)
  for name, value in (cookies or ""):gmatch("([^=;%s]+)=([^;]*)") do
    if name == COOKIE and SERVERS[value] then
      return value
    end
  end
  return nil
end

return function(req)
  local known = version_of(req.headers.cookie)
  local version = known or (math.random() < SHARE_OF_NEW and "new" or "old")
  local cookie = ("%s=%s; Path=/; Max-Age=%d; SameSite=Lax"):format(COOKIE, version, COOKIE_SECONDS)
  local options = {
    headers = { ["X-Version"] = version },
    response_headers = not known and { ["Set-Cookie"] = cookie } or nil,
  }
  local result, reason = req:forward(SERVERS[version], options)
  if result then
    return
  end
  zerg.log.warn("the %s version does not answer: %s", version, reason)
  req:forward(SERVERS[version == "new" and "old" or "new"])
end
