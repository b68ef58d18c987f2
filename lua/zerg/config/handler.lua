-- The handler of a listener: a function in zerg.lua, or a file that returns one (or a table with
-- `serve` and hooks). Checking compiles the file; a reactor runs it, once per Lua state however
-- many listeners share it.

local files = require "zerg.config.files"
local nearest = require "zerg.config.nearest"
local raised = require "zerg.config.raised"
local values = require "zerg.config.values"

local M = {}

local HOOKS = { "serve", "connect", "test", "start", "migrate", "stop" }
local is_hook = {}
for _, hook in ipairs(HOOKS) do
  is_hook[hook] = true
end
local EXPECTED_HOOK = "unknown hook `%s`: expected `" .. table.concat(HOOKS, "`, `") .. "`"
local EXPECTED = "expected the script to return a function or a table with `serve`, got %s"
local ONLY_HTTP = "`migrate` is never called: only HTTP has this handler, and HTTP connections go "
  .. "to the next version between requests; remove `migrate`, or serve TCP with the handler"
local EXPECTED_FUNCTION = "`%s`: expected a function, got %s"
local loaded = {} -- by path: what the file returned, as a zerg.handler

---@class zerg.handler
---@field serve fun(conn: zerg.conn, state: any)
---@field connect? fun(req: zerg.req, res: zerg.res) of HTTP: handles CONNECT
---@field test? fun() raises, or returns false or nil and a message, when something is wrong with
---the script: it is not served then
---@field start? fun() once per reactor, before the first connection
---@field migrate? fun(conn: zerg.conn): any
---@field stop? fun() once per reactor, when it is dropped

---Reads and compiles a handler file without running it.
---@param path string
---@return function|nil chunk
---@return zerg.config.file_problem|nil
function M.compile(path)
  local text, reason = files.read(path)
  if not text then
    return nil, { message = ("%s: %s"):format(path, reason) }
  end
  return files.compile(text, path)
end

---What is wrong with a key of the table, which is no hook.
---@param key any
---@return string
local function unknown_hook(key)
  local guess = nearest.of(key, HOOKS)
  if guess then
    return ("unknown hook `%s`: did you mean `%s`?"):format(key, guess)
  end
  return EXPECTED_HOOK:format(tostring(key))
end

---What is wrong with what a handler file returned, nil: nothing.
---@param value any
---@return string|nil
local function wrong_with(value)
  if type(value) == "function" then
    return nil
  elseif type(value) ~= "table" then
    return EXPECTED:format(values.show(value))
  end
  for key in pairs(value) do
    if not is_hook[key] then
      return unknown_hook(key)
    end
  end
  if type(value.serve) ~= "function" then
    return EXPECTED_FUNCTION:format("serve", values.show(value.serve))
  end
  for _, hook in ipairs(HOOKS) do
    if value[hook] ~= nil and type(value[hook]) ~= "function" then
      return EXPECTED_FUNCTION:format(hook, values.show(value[hook]))
    end
  end
  return nil
end

---What the self-test of a handler finds wrong, nil: nothing. What assert() would raise is a failure
---too, but for a test that returns nothing.
---@param test function
---@param path string
---@return zerg.config.file_problem|nil
local function test_problem(test, path)
  local passed, problem, reason = files.run(test, path)
  if not problem and (passed == false or (passed == nil and reason ~= nil)) then
    reason = reason == nil and "it returned false" or reason
    problem = raised.problem(reason, test, path, debug.getinfo(test, "S").linedefined)
  end
  if problem then
    problem.message = "self-test failed: " .. problem.message
  end
  return problem
end

---Reads, compiles and runs a handler file, and its self-test.
---@param path string
---@return zerg.handler|nil
---@return zerg.config.file_problem|nil
function M.run(path)
  local chunk, problem = M.compile(path)
  if not chunk then
    return nil, problem
  end
  local value
  value, problem = files.run(chunk, path)
  local wrong = not problem and wrong_with(value)
  if problem or wrong then
    return nil, problem or { file = path, message = wrong }
  end
  local failed = type(value) == "table" and value.test and test_problem(value.test, path)
  if failed then
    return nil, failed
  end
  return type(value) == "function" and { serve = value } or value
end

---What is wrong with a handler that only HTTP has, nil: nothing.
---@param handler zerg.handler
---@param path string|nil its file; a function has no hooks
---@return zerg.config.file_problem|nil
function M.http_problem(handler, path)
  local migrate = handler.migrate
  if not migrate then
    return nil
  end
  return raised.problem(ONLY_HTTP, migrate, path, debug.getinfo(migrate, "S").linedefined)
end

---The handler of a normalised listener; runs its script the first time it is asked for in this Lua
---state.
---@param listener table
---@return zerg.handler|nil
---@return string|nil message with file and line, and a traceback when the script raised
function M.load(listener)
  if type(listener.handler) == "function" then
    return { serve = listener.handler }
  end
  local path = listener.handler_path
  if loaded[path] then
    return loaded[path]
  end
  local handler, problem = M.run(path)
  loaded[path] = handler
  return handler, problem and raised.text(problem)
end

return M
