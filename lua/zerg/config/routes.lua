-- What the schema cannot say of the routes of an HTTP listener: hosts, header fields, what goes
-- with what; and the order in which they are tried. A listener without routes has one, for all of
-- its requests. Functions take the checker of check.lua to note problems on.

local values = require "zerg.config.values"

local M = {}

local MIB = 1024 ^ 2
local BODY_BYTES_OF_HANDLERS = MIB
local UNLIMITED = 2 ^ 53

local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"
-- They frame the message or are about the connection: the server's business.
local RESERVED = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true,
  ["proxy-connection"] = true, ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true,
  ["upgrade"] = true,
}
local EXPECTED_HEADERS = 'a table of fields such as { ["X-Env"] = "live", Cookie = false }'

---"a.example", "*.a.example", "[::1]"; in lower case.
function M.read_host(checker, _, value, path)
  local is_host = type(value) == "string"
    and (value:find("^%*?[%w%-._~]+$") or value:find("^%[[%x:.]+%]$"))
  if not is_host or (value:sub(1, 1) == "*" and not value:find("^%*%.[^.]")) then
    return checker:expected(path, 'a host such as "a.example", or "*.a.example" for those below it',
      value)
  end
  return value:lower()
end

-- What is wrong with one field, nil: nothing.
local function field_problem(name, value)
  if type(name) ~= "string" or not name:find(TOKEN) then
    return "no header field can have that name"
  elseif RESERVED[name:lower()] then
    return "cannot be set: it is about the connection, which is zerg's own"
  elseif value == false then
    return nil
  elseif type(value) ~= "string" and type(value) ~= "number" then
    return ("expected a string, or false to remove it, got %s"):format(values.show(value))
  elseif tostring(value):find("[%z\1-\8\10-\31\127]") then
    return "expected a value without control characters"
  elseif tostring(value):find("^%s") or tostring(value):find("%s$") then
    return "expected a value without blanks at its ends"
  end
  return nil
end

---Names and values; false removes. Gives a list in the order of the names, without a value for
---those to be removed.
---@return { name: string, value: string|nil }[]|nil
function M.read_headers(checker, _, value, path)
  if type(value) ~= "table" then
    return checker:expected(path, EXPECTED_HEADERS, value)
  end
  local fields = {}
  for name, text in pairs(value) do
    local problem = field_problem(name, text)
    if problem then
      checker:problem(checker.below(path, name), problem)
    else
      fields[#fields + 1] = { name = name, value = text and tostring(text) or nil }
    end
  end
  table.sort(fields, function(left, right)
    return left.name < right.name
  end)
  return fields
end

---Who answers: one of `handler` and `forward`; and what only goes with the latter.
local function check_purpose(checker, given, path)
  if given.handler == nil and given.forward == nil then
    checker:problem(path, "expected `handler` or `forward`: who answers")
  elseif given.handler ~= nil and given.forward ~= nil then
    checker:problem(checker.below(path, "forward"), "give `handler` or `forward`, not both")
  end
  for _, key in ipairs({ "strip", "headers", "response_headers" }) do
    if given[key] ~= nil and given.forward == nil then
      checker:problem(checker.below(path, key), "goes with `forward` only")
    end
  end
end

-- Paths are compared as they are without escapes and dot segments.
local function check_path(checker, route, path)
  if route.path and (route.path:find("%", 1, true) or (route.path .. "/"):find("/%.%.?/")) then
    checker:problem(checker.below(path, "path"),
      ("expected a path without escapes and dot segments, got %s"):format(values.show(route.path)))
  end
end

local function check_strip(checker, route, path)
  if route.strip and route.path and route.path:sub(1, #route.strip) ~= route.strip then
    checker:problem(checker.below(path, "strip"),
      ("expected the front of `path`, which is %s"):format(values.show(route.path)))
  end
end

---Notes a route that has the same host and path as one before it.
local function check_claim(checker, claims, given, route, index, path)
  local is_wrong = (given.host ~= nil and not route.host) or (given.path ~= nil and not route.path)
  if is_wrong or (given.handler == nil and given.forward == nil) then
    return -- that was noted, and there is no saying what was meant
  end
  local key = (route.host or "") .. (route.path or "")
  if claims[key] then
    checker:problem(path, ("route %d has the same host and path"):format(claims[key]))
  end
  claims[key] = claims[key] or index
end

---Checks the routes of one listener; check_forward(route, path) sees whether there is such an
---upstream.
function M.check(checker, given, normalised, path, check_forward)
  local claims = {}
  for index, route in ipairs(normalised.routes or {}) do
    local route_path = checker.below(path, index)
    if type(given[index]) == "table" then
      check_purpose(checker, given[index], route_path)
      check_path(checker, route, route_path)
      check_strip(checker, route, route_path)
      check_claim(checker, claims, given[index], route, index, route_path)
      check_forward(route.forward, route_path)
    end
  end
end

-- Exact hosts come first, then those with the longest "*.", then routes of any host.
local function host_rank(route)
  if not route.host then
    return 0
  end
  return route.host:sub(1, 1) == "*" and #route.host or math.huge
end

local function is_before(left, right)
  local left_rank, right_rank = host_rank(left), host_rank(right)
  if left_rank ~= right_rank then
    return left_rank > right_rank
  elseif left.host ~= right.host then
    return left.host < right.host
  end
  return #left.path > #right.path
end

---The routes of an HTTP listener in the order in which they are tried, each complete: of the host
---that fits best the one with the longest path.
---@return table[]
function M.complete(listener)
  local routes = listener.routes
  if not routes or #routes == 0 then
    routes = { {
      path = "/", handler = listener.handler, forward = listener.forward,
      headers = listener.headers, response_headers = listener.response_headers,
    } }
  end
  table.sort(routes, is_before)
  for _, route in ipairs(routes) do
    local default = route.forward and UNLIMITED or BODY_BYTES_OF_HANDLERS
    route.body_bytes = listener.limits.body_bytes or default
  end
  return routes
end

return M
