-- Loads zerg.lua: runs it, checks what it returned, and gives back a complete, normalised table or
-- every problem at once. The control thread does so to check; each reactor does it again to get
-- handlers that are functions.

local check = require "zerg.config.check"
local files = require "zerg.config.files"
local locate = require "zerg.config.locate"
local search = require "zerg.config.search"

local M = {}

M.set_package_path = search.set

---@class zerg.config.options
---@field reactors? integer takes the place of `reactors`
---@field log_level? string takes the place of `log.level`
---@field control? string takes the place of `control`
---@field protocol? string of the listener of `zerg SCRIPT.lua` or `zerg proxy`; "tcp" by default
---@field version? string named where something is not available yet
---@field account_exists? fun(kind: "user"|"group", name: string): boolean
---@field run_scripts? boolean run handler scripts too, to see what they return (`zerg check`)

---@param normalised table
---@param options zerg.config.options
local function apply(normalised, options)
  normalised.reactors = options.reactors or normalised.reactors
  normalised.log.level = options.log_level or normalised.log.level
  if options.control then
    normalised.control = options.control
  end
end

---Checks `raw` and completes it with path, script, directory and what the command line says.
---@return table|nil normalised
---@return zerg.config.problem[] problems
local function finish(raw, context, options)
  context.version = options.version
  context.account_exists = options.account_exists
  context.run_scripts = options.run_scripts
  local normalised, problems = check.check(raw, context)
  if not normalised then
    return nil, problems
  end
  normalised.directory = context.directory
  normalised.lua_path = search.join(context.directory, normalised.lua_path)
  if normalised.log.file ~= "stderr" and normalised.log.file ~= "stdout" then
    normalised.log.file = files.join(context.directory, normalised.log.file)
  end
  apply(normalised, options)
  return normalised, {}
end

---Runs a configuration file, with require() looking in its directory first.
---@return any raw what it returned
---@return table|nil context of the checker, nil after a problem
---@return zerg.config.problem[] problems
local function run_file(path)
  local text, reason = files.read(path)
  if not text then
    return nil, nil, { { file = path, message = "cannot read the configuration: " .. reason } }
  end
  local chunk, problem = files.compile(text, path)
  if not chunk then
    return nil, nil, { problem }
  end
  local directory = files.directory(path)
  search.set(directory)
  local raw, raised = files.run(chunk, path)
  if raised then
    return nil, nil, { raised }
  end
  return raw, { file = path, directory = directory, locator = locate.new(text) }, {}
end

---Loads a configuration file. Relative paths in it start at its directory, also those that
---require() tries.
---@param path string
---@param options? zerg.config.options
---@return table|nil normalised every key of the schema with its value, and path, directory
---@return zerg.config.problem[] problems in the order of their lines, empty when there are none
function M.load(path, options)
  local raw, context, raised = run_file(path)
  if not context then
    return nil, raised
  end
  local normalised, problems = finish(raw, context, options or {})
  if normalised then
    normalised.path = path
  end
  return normalised, problems
end

---Where the server of a configuration file can be talked to: that key alone is checked, so that
---a server can be stopped or asked with whatever else is wrong in its file by now.
---@param path string
---@return table|nil normalised control alone
---@return zerg.config.problem[] problems
function M.load_control(path)
  local raw, context, problems = run_file(path)
  local control
  if context then
    control, problems = check.check_key(raw, "control", context)
  end
  return #problems == 0 and { control = control } or nil, problems
end

---LISTEN of `zerg proxy` as keys of a listener: ":8080", "127.0.0.1:8080", "[::1]:8080",
---"unix:/path".
---@param text string
---@return table|nil
local function listener_at(text)
  local path = text:match("^unix:(.+)$")
  if path then
    return { path = path }
  end
  local host, digits = text:match("^(.*):(%d+)$")
  if not host then
    return nil
  end
  return { address = host ~= "" and (host:match("^%[(.*)%]$") or host) or nil,
    port = tonumber(digits) }
end

---The word of the command line that a problem of a proxy's configuration is about.
local function word_of(key)
  return key and key:find("^upstreams") and "TARGET" or "LISTEN"
end

---The configuration of `zerg proxy LISTEN TARGET...`: one listener that forwards to the
---upstream "proxy", every server of which is tried; everything else by default.
---@param listen string ":8080", "127.0.0.1:8080", "[::1]:8080" or "unix:/path"
---@param targets string[] as servers of an upstream
---@param options? zerg.config.options
---@return table|nil normalised as load() gives it, with proxy_listen and proxy_targets, no path
---@return zerg.config.problem[] problems
function M.from_proxy(listen, targets, options)
  local listener = listener_at(listen)
  if not listener then
    local message = 'LISTEN: expected a port such as ":8080", an address and port, or "unix:/path",'
      .. " got %q"
    return nil, { { file = "zerg proxy", message = message:format(listen) } }
  end
  listener.forward = "proxy"
  listener.protocol = options and options.protocol
  local upstream = { servers = targets, retries = #targets - 1 }
  local context = { file = "zerg proxy", directory = "." }
  local raw = { listeners = { listener }, upstreams = { proxy = upstream } }
  local normalised, problems = finish(raw, context, options or {})
  for _, problem in ipairs(problems) do
    problem.key = word_of(problem.key)
  end
  if normalised then
    normalised.proxy_listen, normalised.proxy_targets = listen, targets
  end
  return normalised, problems
end

---The configuration of `zerg SCRIPT.lua`: one listener on all addresses, everything else by
---default.
---@param script string
---@param port? integer 8080 by default
---@param options? zerg.config.options
---@return table|nil normalised as load() gives it, with script instead of path
---@return zerg.config.problem[] problems
function M.from_script(script, port, options)
  local text, reason = files.read(script)
  if not text then
    return nil, { { file = script, message = "cannot read the script: " .. reason } }
  end
  local directory = files.directory(script)
  search.set(directory)
  local listener = { port = port or 8080, handler = script:match("[^/]*$") }
  listener.protocol = options and options.protocol
  local raw = { listeners = { listener } }
  local normalised, problems = finish(raw, { file = script, directory = directory }, options or {})
  for _, problem in ipairs(problems) do
    problem.key = nil
  end
  if normalised then
    normalised.script = script
  end
  return normalised, problems
end

return M
