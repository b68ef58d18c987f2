-- The module `zerg`: what a script gets from require("zerg"). Everything in it is made elsewhere.

local connect = require("zerg.connect")
local json = require("cjson").new()
local log = require("zerg.log")
local queue = require("zerg.queue")
local task = require("zerg.task")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi

-- A handler, as a file returns it: a function, or a table with hooks (see zerg.handler).
---@alias zerg.serve fun(conn: zerg.conn, state: any)

---@class zerg
---@field config table the configuration as it was loaded, complete and read-only
---@field reactor integer index of this reactor, from 0
---@field reactors integer how many there are
local M = {
  config = {},
  json = json,
  log = log,
  reactor = 0,
  reactors = 1,
  version = ffi.string(C.zerg_version_text()),
}

M.connect = connect.connect
M.deadline = task.deadline
M.every = task.every
M.queue = queue.new
M.resolve = connect.resolve
M.sleep = task.sleep
M.spawn = task.spawn

---Whether a newer version of the scripts serves new connections, so that this one goes on only for
---those it has.
---@return boolean
function M.reloading()
  return C.zerg_reloading() ~= 0
end

---Whether the server is shutting down, and waits for what is under way.
---@return boolean
function M.draining()
  return C.zerg_draining() ~= 0
end

---Monotonic seconds, the same during one turn of the reactor.
---@return number
function M.now()
  return C.zerg_now()
end

---Seconds since the epoch by the wall clock.
---@return number
function M.time()
  return C.zerg_time()
end

return M
