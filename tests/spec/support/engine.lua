-- A model of the engine behind src/script/api.h for the specs of the Lua modules: connections that
-- are fed by hand, tasks, and a clock that stands still until it is told. It keeps to the header's
-- comments, strictly: what the header calls invalid memory is poisoned here.
--
-- Loading this file also loads every module of zerg, with this model in the place of ffi.C.

local ffi = require("ffi")

local M = {}

local model = {} -- the functions of api.h
local tasks = require("support.engine_tasks")
local conns = require("support.engine_conns")
local leases = require("support.engine_leases")
local proxy = require("support.engine_proxy")
local connects = require("support.engine_connects")
local http = require("support.engine_http")
local http_forwards = require("support.engine_http_forwards")

-- The real namespace knows the enum constants of the header, and memmem.
local C = setmetatable(model, {
  __index = function(_, name)
    return ffi.C[name]
  end,
})

for _, part in ipairs({ tasks.api, leases.api, conns.api, proxy.api, connects.api,
  http.api, http_forwards.api }) do
  for name, fn in pairs(part) do
    model[name] = fn
  end
end

M.lines = {} -- what was logged since forget_log()
M.log_level = 0

function model.zerg_log(level, message, len)
  M.lines[#M.lines + 1] = { level = level, text = message:sub(1, len) }
end

function model.zerg_log_is_on(level)
  return level >= M.log_level and 1 or 0
end

function model.zerg_now()
  return tasks.now
end

function model.zerg_time()
  return 1e9 + tasks.now
end

M.is_evaluating = false
function model.zerg_eval_begin()
  M.is_evaluating = true
end

function model.zerg_eval_end()
  M.is_evaluating = false
end

M.is_reloading, M.is_draining = false, false
function model.zerg_reloading()
  return M.is_reloading and 1 or 0
end

function model.zerg_draining()
  return M.is_draining and 1 or 0
end

function model.zerg_reactor_index()
  return 2
end

function model.zerg_reactor_count()
  return 4
end

local version = ffi.new("char[?]", 6, "9.9.9")
function model.zerg_version_text()
  return ffi.cast("const char *", version)
end

M.traces = {}
function model.zerg_trace_compiled(address, len, place)
  M.traces[#M.traces + 1] = { address = address, len = len, place = place }
end

---@return string[]
function M.forget_log()
  local texts = {}
  for index, line in ipairs(M.lines) do
    texts[index] = line.text
  end
  M.lines = {}
  return texts
end

---Runs fn(...) as a task and what becomes ready by it. Gives the task.
function M.run(fn, ...)
  local task = tasks.spawn(nil, fn, ...)
  tasks.run_ready()
  return task
end

---fn(...) in a task that must end by itself: its results, or its error.
function M.call(fn, ...)
  local task = M.run(fn, ...)
  assert(task.ended, "the function parked and was not woken")
  if task.failure ~= nil then
    error(task.failure, 0)
  end
  return unpack(task.results, 1, task.results.n)
end

M.turn = tasks.run_ready
M.advance = tasks.advance
M.connect = conns.connect
M.request = http.request

local function declare()
  -- Every module takes its C from here when it is loaded.
  require("zerg.ffi").C = C
  package.loaded["zerg.native"] = { spawn = tasks.spawn }
  require("zerg.runtime")
end

-- C types and their metatables can be declared once in a Lua state, while busted forgets modules
-- between spec files: what was loaded the first time is put back.
local KEPT = "zerg spec modules"
local registry = debug.getregistry()

local function load_modules()
  if not registry[KEPT] then
    declare()
    registry[KEPT] = { engine = M, modules = {} }
    for name, module in pairs(package.loaded) do
      if name:find("^zerg") or name:find("^support%.engine") then
        registry[KEPT].modules[name] = module
      end
    end
  end
  for name, module in pairs(registry[KEPT].modules) do
    package.loaded[name] = module
  end
  return registry[KEPT].engine
end

return load_modules()
