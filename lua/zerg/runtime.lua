-- What C calls: sets up a fresh Lua state, loads the handlers, runs their hooks, and serves
-- connections. One state per reactor and script version.

local carry = require("zerg.carry")
local config_files = require("zerg.config")
local config_paths = require("zerg.config.files")
local handler_files = require("zerg.config.handler")
local raised = require("zerg.config.raised")

local conn_module = require("zerg.conn")
local http = require("zerg.http")
local log = require("zerg.log")
local park = require("zerg.park")
local readonly = require("zerg.readonly")
local repl = require("zerg.repl")
local task = require("zerg.task")
local trace = require("zerg.trace")
local zerg = require("zerg")
local zffi = require("zerg.ffi")
-- These only set the metatables of their types.
require("zerg.seq")
require("zerg.view")

local M = {}

local C = zffi.C
local begin, finish = conn_module.begin, conn_module.finish
local begin_carried = conn_module.begin_carried

-- LuaJIT's own limits are for small programs: a full trace table or code area throws away all
-- traces at once.
local JIT_OPTIONS = {
  "maxtrace=8000",
  "maxrecord=16000",
  "maxmcode=16384",
  "sizemcode=64",
  "minstitch=3",
}

local serve_by_listener = {}
local migrate_by_listener = {}
-- Of the listeners that speak HTTP, one after the other:
local serve_by_route = {}
local connect_by_route = {}
local paths = {} -- of the files of modules
local start_error, start_module -- what a `start` hook raised, and whose ran last
local modules = {} -- each handler module once, in the order of the listeners

---@class zerg.runtime.options
---@field config table the validated configuration
---@field directory? string where require() looks first
---@field lua_path? string templates where it looks then

local function set_up(options)
  jit.opt.start(unpack(JIT_OPTIONS))
  trace.start()
  park.install(coroutine)
  print = log.print -- luacheck: ignore 121
  config_files.set_package_path(options.directory or ".", options.lua_path)
  zerg.config = readonly.wrap(options.config)
  zerg.reactor = C.zerg_reactor_index()
  zerg.reactors = C.zerg_reactor_count()
end

local seen = {}

-- Loads the handler of a listener or route, which may have none. Gives its module, or nil, and a
-- message when it cannot be loaded.
local function load_handler(holder)
  if not (holder.handler or holder.handler_path) then
    return nil
  end
  local module, message = handler_files.load(holder)
  if not module then
    return nil, message
  end
  if not seen[module] then
    seen[module] = true
    modules[#modules + 1] = module
    paths[module] = holder.handler_path
  end
  return module
end

-- Counts all routes, as C does.
local function load_routes(listener, first)
  for index, route in ipairs(listener.routes) do
    local module, message = load_handler(route)
    if message then
      return nil, message
    end
    serve_by_route[first + index] = module and module.serve
    connect_by_route[first + index] = module and module.connect
  end
  return first + #listener.routes
end

-- Gives a message when it cannot be loaded.
local function load_tcp(listener, index, serves_tcp)
  local module, message = load_handler(listener)
  if module then
    serve_by_listener[index], migrate_by_listener[index] = module.serve, module.migrate
    serves_tcp[module] = true
  end
  return message
end

-- Looks at the modules that are not among those of `serves_tcp`.
local function check_http_only(serves_tcp)
  for _, module in ipairs(modules) do
    local problem = not serves_tcp[module] and handler_files.http_problem(module, paths[module])
    if problem then
      return nil, raised.text(problem)
    end
  end
  return true
end

local function load_handlers(config)
  local route_count, serves_tcp = 0, {}
  for index, listener in ipairs(config.listeners) do
    local message
    if listener.routes then
      route_count, message = load_routes(listener, route_count)
    else
      message = load_tcp(listener, index, serves_tcp)
    end
    if message then
      return nil, message
    end
  end
  return check_http_only(serves_tcp)
end

---Sets the state up and loads every handler. For C.
---@param options zerg.runtime.options
---@return true|nil ok
---@return string|nil message with file and line
function M.load(options)
  set_up(options)
  return load_handlers(options.config)
end

-- Notes it as the first thing: without memory, nothing that follows may succeed.
local function note_start_error(err)
  start_error = err
  return task.keep_traceback(err)
end

local function run_start_hook(module)
  start_module = module
  local ok, err = xpcall(module.start, note_start_error)
  if not ok then
    task.raise_again(err, task.traceback_of(err))
  end
end

---Runs the `start` hooks, in a task; an error in one is raised. For C.
function M.start()
  for _, module in ipairs(modules) do
    if module.start then
      run_start_hook(module)
    end
  end
end

---What is wrong with the `start` hooks, once their task has failed, and with it what took up memory
---is gone. For C.
---@return string message with file and, when the error names it, line
function M.start_problem()
  if start_error == nil then
    return "a `start` hook failed; the log has its traceback"
  end
  local problem = raised.problem(start_error, start_module.start, paths[start_module])
  return raised.text(problem) .. " (in its `start` hook)"
end

---Runs the `stop` hooks, in a task; an error in one is logged. For C.
function M.stop()
  for _, module in ipairs(modules) do
    if module.stop then
      task.run_logged(module.stop)
    end
  end
end

---Runs the handler of a connection. For C, as the body of a pooled coroutine: when it returns, C
---closes the connection; when the handler raises, C logs it with the traceback of this coroutine.
---@param listener_index integer
---@param pointer lightuserdata
---@param generation integer
---@param slot integer
---@param id integer
function M.serve(listener_index, pointer, generation, slot, id)
  serve_by_listener[listener_index](begin(pointer, generation, slot, id), nil)
  finish(slot, id)
end

---Whether the handler of a listener lets its connections go to the next version. For C.
---@param listener_index integer
---@return boolean
function M.migrates(listener_index)
  return migrate_by_listener[listener_index] ~= nil
end

---Asks the handler of a connection what the next version is to have. For C, outside of any task;
---raises when `migrate` does, or gives what cannot be carried.
---@param listener_index integer
---@param pointer lightuserdata
---@param generation integer
---@param slot integer
---@param id integer
---@return string|nil packed for unpack() of the next version; nil: not now
function M.migrate(listener_index, pointer, generation, slot, id)
  local conn = zffi.conn_t(pointer, generation, slot, id)
  local state, refusal = migrate_by_listener[listener_index](conn)
  if state == nil and refusal ~= nil then
    return nil
  end
  local problem = carry.problem(state, "state")
  if problem then
    error(("migrate: cannot carry what it returned: %s"):format(problem), 0)
  end
  local ctx = conn_module.peek_ctx(id)
  if carry.problem(ctx, "ctx") then
    ctx = nil
  end
  return carry.pack(state, ctx)
end

---The next version has the connection. For C.
---@type fun(slot: integer, id: integer)
M.leave = conn_module.leave

---Reads what migrate() of the version before gave. For C, outside of any task, while the connection
---is still with that version; raises without memory.
---@param pointer lightuserdata borrowed for the call
---@param len integer its bytes
---@return zerg.carried carried for resume()
M.unpack = carry.unpack

---Runs the handler of a connection that comes from the version before. For C, as serve().
---@param listener_index integer
---@param pointer lightuserdata
---@param generation integer
---@param slot integer
---@param id integer
---@param carried zerg.carried what unpack() gave
function M.resume(listener_index, pointer, generation, slot, id, carried)
  local state, ctx = carried[1], carried[2]
  serve_by_listener[listener_index](begin_carried(pointer, generation, slot, id, ctx), state)
  finish(slot, id)
end

---Runs the handler of a request. For C, as serve().
---@param route_index integer
---@param address integer
---@param generation integer
function M.serve_http(route_index, address, generation)
  local serve, connect = serve_by_route[route_index], connect_by_route[route_index]
  http.serve(serve, connect, address, generation)
end

---A connection that on_close was called on has ended. For C.
---@type fun(slot: integer, generation: integer)
M.closed = conn_module.closed

---The files that the scripts came from, one on a line. For C, once they are loaded, or could not
---be.
---@return string
function M.files()
  return table.concat(config_paths.loaded(), "\n")
end

---Nothing runs here any more: lets go of what the scripts have loaded and made, so that it can be
---collected bit by bit. For C.
function M.forget()
  conn_module.forget_all()
  serve_by_listener, migrate_by_listener, serve_by_route, connect_by_route = {}, {}, {}, {}
  modules, paths, seen, start_error, start_module = {}, {}, {}, nil, nil
  for name in pairs(package.loaded) do
    package.loaded[name] = nil
  end
end

---Evaluates what an operator typed. For C, outside of any task.
---@type fun(code: string): string
M.eval = repl.eval

---The traceback to log for an error that ended a handler: the stack of its coroutine, or of where
---the error was raised when it passed through zerg.deadline. For C, which may as well make its own.
---@param thread thread
---@param err any
---@return string
function M.traceback(thread, err)
  return task.traceback_of(err) or debug.traceback(thread, tostring(err))
end

return M
