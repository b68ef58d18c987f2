-- What the schema cannot say of upstreams: servers, which are texts or tables, and keys that
-- concern each other. Functions take the checker of check.lua to note problems on.

local schema = require "zerg.config.schema"
local targets = require "zerg.config.targets"
local values = require "zerg.config.values"

local M = {}

---A server, by its target alone or as a table.
function M.read_server(checker, field, value, path)
  if type(value) == "table" then
    return checker:fields(field.fields, value, path)
  end
  local address = targets.read(checker, field, value, path)
  if not address then
    return nil
  end
  local server = { address = address }
  for _, key in ipairs(field.fields) do
    if key.default ~= schema.INHERIT and not key.required then
      server[key.name] = key.default
    end
  end
  return server
end

---The least and the greatest status of 200, "200" and "200-399".
---@param value any
---@return integer|nil least
---@return integer|nil most
local function parse_status(value)
  local text = tostring(value)
  local least, most = text:match("^([1-5]%d%d)%-([1-5]%d%d)$")
  least = tonumber(least or text:match("^[1-5]%d%d$"))
  most = tonumber(most) or least
  if least and least <= most then
    return least, most
  end
end

---As text: 200 becomes "200".
function M.read_status(checker, _, value, path)
  if not parse_status(value) then
    return checker:expected(path, 'a status such as 200, or a range such as "200-399"', value)
  end
  return tostring(value)
end

---Notes servers that are there a second time: they would get twice their share, and two counts.
local function check_servers(checker, servers, path)
  local first = {}
  for index, server in ipairs(servers) do
    local target = server.address and targets.parse(server.address)
    local key = target and targets.key(target)
    if key and first[key] then
      local message = "%s is there already, as servers[%d]: a `weight` gives a server more"
      checker:problem(checker.below(path, index),
        message:format(values.show(server.address), first[key]))
    elseif key then
      first[key] = index
    end
  end
end

---What goes with an HTTP check only.
local function check_health(checker, given, path)
  for _, key in ipairs { "host", "status" } do
    if given[key] ~= nil and given.path == nil then
      checker:problem(checker.below(path, key), "goes with `path` only")
    end
  end
end

---What other parts of zerg read of an upstream, beside the keys of zerg.lua.
local function complete(upstream)
  for _, server in ipairs(upstream.servers) do
    server.max_connections = server.max_connections or upstream.max_connections
  end
  if upstream.health then
    local health = upstream.health
    health.status_min, health.status_max = parse_status(health.status)
  end
end

---Checks all upstreams and, when nothing at all was wrong so far, completes each: its servers with
---max_connections, its health with status_min and status_max.
---@param checker zerg.config.checker
---@param given any upstreams as zerg.lua has them
---@param normalised table the whole configuration
function M.check(checker, given, normalised)
  for name, upstream in pairs(normalised.upstreams or {}) do
    local path = { "upstreams", name }
    check_servers(checker, upstream.servers or {}, checker.below(path, "servers"))
    if upstream.health then
      check_health(checker, given[name].health, checker.below(path, "health"))
    end
  end
  if #checker.problems > 0 then
    return
  end
  for _, upstream in pairs(normalised.upstreams) do
    complete(upstream)
  end
end

return M
