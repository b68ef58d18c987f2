-- What the schema cannot say of listeners: handler scripts, where to forward, keys that need or
-- exclude each other, and two listeners in one place. Functions take the checker of check.lua to
-- note problems on.

local addresses = require "zerg.config.addresses"
local files = require "zerg.config.files"
local handler = require "zerg.config.handler"
local nearest = require "zerg.config.nearest"
local routes = require "zerg.config.routes"
local targets = require "zerg.config.targets"

local M = {}

---Octal digits to the number that chmod(2) takes.
function M.read_mode(checker, _, value, path)
  if type(value) ~= "string" or not value:find("^0?[0-7][0-7][0-7]$") then
    return checker:expected(path, 'octal digits in quotes such as "0660"', value)
  end
  return tonumber(value, 8)
end

function M.read_handler(checker, _, value, path)
  if type(value) == "function" then
    return value
  elseif type(value) ~= "string" or value == "" then
    return checker:expected(path, "a function or the path of a Lua file", value)
  end
  local _, problem = handler.compile(files.join(checker.context.directory, value))
  if problem then
    return checker:problem(path, problem.message, problem.file and problem)
  end
  return value
end

---Whether `text` can be the name of an upstream. Targets have a ":", and an address without its
---port is a target that was not finished.
local function is_upstream_name(text)
  return text:find("^[^%c:/]+$") ~= nil and not addresses.key(text)
end

---The name of an upstream (whether there is one is for check() to see), or a target.
function M.read_forward(checker, field, value, path)
  if type(value) == "string" and is_upstream_name(value) then
    return value
  end
  return targets.read(checker, field, value, path)
end

---The endpoints that a listener binds, each as a text that is equal for equal ones.
---@return string[]
local function endpoints(listener, ip_version)
  if listener.path then
    return { listener.path }
  elseif not listener.port then
    return {}
  elseif listener.address then
    return { ("%s:%d"):format(addresses.key(listener.address), listener.port) }
  end
  local any = { v4 = { "0.0.0.0" }, v6 = { "::" }, dual = { "0.0.0.0", "::" } }
  local keys = {}
  for index, address in ipairs(any[ip_version] or any.dual) do
    keys[index] = ("%s:%d"):format(addresses.key(address), listener.port)
  end
  return keys
end

---"127.0.0.1:7000", "[::1]:7000", "*:7000", "unix:/run/x.sock".
local function printed_address(listener)
  if listener.path then
    return "unix:" .. listener.path
  elseif not listener.address then
    return "*:" .. listener.port
  end
  local shape = listener.address:find(":", 1, true) and "[%s]:%d" or "%s:%d"
  return shape:format(listener.address, listener.port)
end

---Port or path, and what goes with which.
local function check_place(checker, given, path)
  if given.port ~= nil and given.path ~= nil then
    checker:problem(checker.below(path, "path"), "give `port` or `path`, not both")
  elseif given.port == nil and given.path == nil then
    checker:problem(path, "expected `port` or `path`: where to listen")
  end
  local only_with = given.path ~= nil and { "address", "tcp" } or { "mode" }
  for _, key in ipairs(only_with) do
    if given[key] ~= nil and (given.port == nil) ~= (given.path == nil) then
      checker:problem(checker.below(path, key),
        ("goes with `%s` only"):format(given.path ~= nil and "port" or "path"))
    end
  end
  if given.mode ~= nil and type(given.path) == "string" and given.path:sub(1, 1) == "@" then
    checker:problem(checker.below(path, "mode"), "an abstract socket has no file to set it on")
  end
end

---A handler, or where to forward, or routes.
local function check_purpose(checker, given, path)
  if given.routes ~= nil then
    for _, key in ipairs({ "handler", "forward", "headers", "response_headers" }) do
      if given[key] ~= nil then
        checker:problem(checker.below(path, key),
          ("give `%s` or `routes`, not both: a route may have it"):format(key))
      end
    end
  elseif given.handler == nil and given.forward == nil then
    checker:problem(path,
      "`handler` is missing: a function or the path of a Lua file; or `forward`"
        .. (given.protocol == "http" and ", or `routes`" or ""))
  elseif given.handler ~= nil and given.forward ~= nil then
    checker:problem(checker.below(path, "forward"), "give `handler` or `forward`, not both")
  end
  for _, key in ipairs(given.handler ~= nil and { "headers", "response_headers" } or {}) do
    if given[key] ~= nil then
      checker:problem(checker.below(path, key),
        "goes with `forward` only: a handler has req:forward() and res:header()")
    end
  end
end

---Who believes to have said who may connect has not.
local function check_trusted(checker, given, path)
  local asks = type(given.trusted) == "table" and next(given.trusted) ~= nil
  local is_used = given.protocol == "http" or (given.proxy_protocol or false) ~= false
  if asks and not is_used then
    checker:problem(checker.below(path, "trusted"),
      'goes with `proxy_protocol = true` or protocol "http" only: '
        .. "it says whose headers are believed")
  end
end

---What only goes with HTTP.
local function check_protocol(checker, given, path)
  if given.protocol == "http" then
    return
  end
  for _, key in ipairs({ "routes", "headers", "response_headers", "forward_headers" }) do
    if given[key] ~= nil then
      checker:problem(checker.below(path, key), 'goes with protocol "http" only')
    end
  end
end

---@param map table<string, any>
---@return string[] names in their order
local function sorted_names(map)
  local names = {}
  for name in pairs(map) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

---That the upstream is there which `forward` names.
local function check_forward(checker, forward, upstreams, path)
  if not forward or not is_upstream_name(forward) or upstreams[forward] then
    return
  end
  local guess = nearest.of(forward, sorted_names(upstreams))
  local hint = guess and (": did you mean `%s`?"):format(guess)
    or (', and a target has a port: "%s:3000"'):format(forward)
  checker:problem(checker.below(path, "forward"),
    ("there is no upstream `%s`%s"):format(forward, hint))
end

---That of the listener, and those of its routes.
local function check_forwards(checker, given, normalised, index)
  local listener, upstreams = normalised.listeners[index], normalised.upstreams or {}
  local path = { "listeners", index }
  check_forward(checker, listener.forward, upstreams, path)
  routes.check(checker, given.routes, listener, checker.below(path, "routes"),
    function(forward, route_path)
      check_forward(checker, forward, upstreams, route_path)
    end)
end

---Notes every claim of a key that an earlier listener made already.
local function check_claim(checker, claims, key, index, path, what)
  if claims[key] then
    checker:problem(path, ("listeners[%d] has the same %s"):format(claims[key], what))
    return false
  end
  claims[key] = index
  return true
end

local function check_conflicts(checker, given, normalised)
  local places, names = {}, {}
  for index, listener in ipairs(normalised.listeners) do
    local path = { "listeners", index }
    local what = listener.path and "path" or "address and port"
    for _, key in ipairs(endpoints(listener, normalised.acceptor.ip_version)) do
      local key_path = checker.below(path, listener.path and "path" or "port")
      if not check_claim(checker, places, key, index, key_path, what) then
        break
      end
    end
    if listener.name and given[index].name then
      check_claim(checker, names, listener.name, index, checker.below(path, "name"), "name")
    end
  end
end

---Of a listener or a route: where its handler stands.
local function complete_purpose(holder, directory)
  if holder.forward then
    holder.handler_label = "forward to " .. holder.forward
  elseif type(holder.handler) == "function" then
    local info = debug.getinfo(holder.handler, "S")
    holder.handler_label = ("%s:%d (function)"):format(info.short_src, info.linedefined)
  else
    holder.handler_path = files.join(directory, holder.handler)
    holder.handler_label = holder.handler_path
  end
end

---What other parts of zerg read of a listener, beside the keys of zerg.lua.
local function complete(listener, normalised, directory)
  listener.name = listener.name or printed_address(listener)
  listener.backlog = listener.backlog or normalised.acceptor.backlog
  listener.ip_version = normalised.acceptor.ip_version
  if listener.address then
    listener.ip_version = listener.address:find(":", 1, true) and "v6" or "v4"
  end
  if listener.protocol == "http" then
    listener.routes = routes.complete(listener)
    for _, route in ipairs(listener.routes) do
      complete_purpose(route, directory)
    end
    listener.handler_label = #listener.routes == 1 and listener.routes[1].handler_label
      or ("%d routes"):format(#listener.routes)
  elseif not listener.routes then
    complete_purpose(listener, directory)
  end
end

---tcp: the scripts that TCP listeners have.
local function run_script(checker, script, path, tcp)
  if type(script) == "string" then
    local file = files.join(checker.context.directory, script)
    local module, problem = handler.run(file)
    if module and not tcp[script] then
      problem = handler.http_problem(module, file)
    end
    if problem then
      checker:problem(path, problem.message, problem)
    end
  end
end

local function scripts_of_tcp(listeners)
  local scripts = {}
  for _, listener in ipairs(listeners) do
    if listener.protocol ~= "http" and listener.handler then
      scripts[listener.handler] = true
    end
  end
  return scripts
end

---Runs the scripts of the listeners that have one, to see what they return.
local function run_scripts(checker, normalised)
  local tcp = scripts_of_tcp(normalised.listeners)
  for index, listener in ipairs(normalised.listeners) do
    run_script(checker, listener.handler, { "listeners", index, "handler" }, tcp)
    for place, route in ipairs(listener.routes or {}) do
      run_script(checker, route.handler, { "listeners", index, "routes", place, "handler" }, tcp)
    end
  end
end

---Checks all listeners together and, when nothing at all was wrong, completes each with name,
---backlog, ip_version, handler_path (of a script) and handler_label;
---one that speaks HTTP with routes, which have the latter two.
---@param checker zerg.config.checker
---@param given table listeners as zerg.lua has them
---@param normalised table the whole configuration
function M.check(checker, given, normalised)
  for index in ipairs(normalised.listeners) do
    local path, listener = { "listeners", index }, given[index]
    if type(listener) == "table" then
      check_place(checker, listener, path)
      check_purpose(checker, listener, path)
      check_trusted(checker, listener, path)
      check_protocol(checker, listener, path)
      check_forwards(checker, listener, normalised, index)
    end
  end
  check_conflicts(checker, given, normalised)
  if checker.context.run_scripts then
    run_scripts(checker, normalised)
  end
  if #checker.problems > 0 then
    return
  end
  for _, listener in ipairs(normalised.listeners) do
    complete(listener, normalised, checker.context.directory)
  end
end

return M
