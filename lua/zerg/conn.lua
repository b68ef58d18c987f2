-- zerg.conn: the handle of a connection, and what belongs to the script about it: ctx and on_close.
-- A handle is a cdata with the slot and its generation, so one that outlived its connection is
-- found out by C. Reading and writing are in conn_read.lua and conn_write.lua.

local bytes = require("zerg.bytes")
local conn_proxy = require("zerg.conn_proxy")
local conn_forward = require("zerg.conn_forward")
local conn_read = require("zerg.conn_read")
local conn_write = require("zerg.conn_write")
local connect = require("zerg.connect")
local outcome = require("zerg.outcome")
local task = require("zerg.task")
local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local conn_t = zffi.conn_t
local OK, END = C.ZERG_OK, C.ZERG_END

---A connection. It may be kept and written to by any coroutine of its reactor; only one may read
---from it at a time.
---@class zerg.conn
---@field id integer unique in this process
---@field remote_addr string the client's address, "" for an unnamed unix peer
---@field remote_port integer 0 for unix sockets
---@field local_addr string
---@field local_port integer
---@field listener string name of the listener that accepted it
---@field reactor integer index of its reactor, from 0
---@field ctx table the script's own, empty at first, gone with the connection
---@field reason string|nil why no more comes ("closed", "reset", "timeout", ...), nil while it may
---@field bytes_in integer received
---@field bytes_out integer taken by the kernel
---@field held integer received pieces that views and sequences of the script hold
---@field proxy zerg.conn.proxy|nil what a proxy said in front of the first byte
local methods = {}
local getters = {}

-- What a script keeps about a connection, made when first used. By slot: serving_id is the
-- connection whose handler runs there, or that the script made (0: none), watching the record whose
-- close callbacks are due. The handle itself is kept for those only: one of a connection that the
-- script made is collected when the script has lost it.
local records = {} -- by conn id: { id =, conn =, ctx =, proxy =, callbacks =, serving = }
local serving_id = {}
local watching = {}

-- The connection with that id is the one of the slot from now on.
local function take_slot(slot, id)
  local before = serving_id[slot]
  if before and before ~= 0 then
    -- Its handler raised and so never came to finish().
    M.finish(slot, before)
  end
  serving_id[slot] = id
end

-- A connection that speaks HTTP has handlers that come and go. It counts as served until its end,
-- of which C is asked to tell, by closed().
local function serve_http(self)
  if C.zerg_conn_keep(self) == OK then
    take_slot(self._slot, self._id)
  end
end

local function record_of(self)
  local id = self._id
  local record = records[id]
  if not record then
    if self._is_http ~= 0 then
      serve_http(self)
    end
    local serving = serving_id[self._slot] == id
    record = { id = id, conn = nil, ctx = nil, proxy = nil, callbacks = nil, serving = serving }
    records[id] = record
  end
  return record
end

-- A record is needed while the handler runs or callbacks are due.
local function drop_if_done(record)
  if not record.serving and not record.callbacks then
    records[record.id] = nil
  end
end

function getters.id(self)
  return self._id
end

function getters.remote_addr(self)
  return ffi.string(C.zerg_conn_remote_addr(self))
end

function getters.remote_port(self)
  return C.zerg_conn_remote_port(self)
end

function getters.local_addr(self)
  return ffi.string(C.zerg_conn_local_addr(self))
end

function getters.local_port(self)
  return C.zerg_conn_local_port(self)
end

function getters.listener(self)
  return ffi.string(C.zerg_conn_listener(self))
end

function getters.reactor()
  return C.zerg_reactor_index()
end

function getters.reason(self)
  local reason = C.zerg_conn_reason(self)
  if reason ~= nil then
    return ffi.string(reason)
  end
  return outcome.has_timed_out(self) and "timeout" or nil
end

function getters.bytes_in(self)
  return C.zerg_conn_bytes_in(self)
end

function getters.bytes_out(self)
  return C.zerg_conn_bytes_out(self)
end

function getters.held(self)
  return C.zerg_conn_held(self)
end

function getters.ctx(self)
  local record = record_of(self)
  local ctx = record.ctx
  if not ctx then
    ctx = {}
    record.ctx = ctx
    drop_if_done(record)
  end
  return ctx
end

function getters.proxy(self)
  local record = records[self._id]
  local proxy = record and record.proxy or conn_proxy.read(self)
  if proxy then
    record = record_of(self)
    record.proxy = proxy
    drop_if_done(record)
  end
  return proxy
end

local function seconds(options, name)
  local value = options[name]
  if value == nil then
    return -1
  elseif not bytes.is_number(value, 0) then
    error("conn:timeout: " .. name .. ": expected seconds (0: none), got " .. tostring(value), 3)
  end
  return value
end

---Sets time-outs in seconds, fractions allowed, 0: none. What is not named stays as it was (the
---listener sets the defaults).
---@param options { read?: number, write?: number, idle?: number }
---@return true|nil ok
---@return string|nil reason
function methods.timeout(self, options)
  if type(options) ~= "table" then
    return bytes.misuse("conn:timeout", "a table with read, write or idle", options)
  end
  for name in pairs(options) do
    if name ~= "read" and name ~= "write" and name ~= "idle" then
      error("conn:timeout: unknown time-out '" .. tostring(name) .. "'", 2)
    end
  end
  local read_s, write_s = seconds(options, "read"), seconds(options, "write")
  local rc = C.zerg_conn_set_timeouts(self, read_s, write_s, seconds(options, "idle"))
  if rc == OK then
    return true
  end
  return outcome.fail(self, "conn:timeout", rc)
end

---Calls fn(conn, reason) in a task of its own when the connection has ended, also while the handler
---is parked elsewhere; at once when it has ended already. Several are called in the order they
---came.
---@param fn fun(conn: zerg.conn, reason: string)
function methods.on_close(self, fn)
  if type(fn) ~= "function" then
    return bytes.misuse("conn:on_close", "a function", fn)
  end
  local rc = C.zerg_conn_watch_close(self)
  if rc == END then
    task.spawn(fn, self, outcome.reason(self))
    return
  elseif rc ~= OK then
    return outcome.fail(self, "conn:on_close", rc)
  end
  local record = record_of(self)
  local callbacks = record.callbacks or {}
  callbacks[#callbacks + 1] = fn
  record.callbacks = callbacks
  record.conn = self
  watching[self._slot] = record
end

for _, more in ipairs({ conn_read, conn_write.methods, connect.methods, conn_forward }) do
  for name, method in pairs(more) do
    methods[name] = method
  end
end

local metatable = { __name = "zerg.conn" }

function metatable.__index(self, key)
  local method = methods[key]
  if method then
    return method
  end
  local getter = getters[key]
  if getter then
    local value = getter(self)
    return value
  end
  error("conn has no field '" .. tostring(key) .. "' (keep your own data in conn.ctx)", 2)
end

function metatable.__newindex(self, key, value)
  if key ~= "ctx" then
    error("conn." .. tostring(key) .. " cannot be set (keep your own data in conn.ctx)", 2)
  elseif type(value) ~= "table" then
    error("conn.ctx: expected a table, got " .. type(value), 2)
  end
  local record = record_of(self)
  record.ctx = value
  drop_if_done(record)
end

function metatable.__tostring(self)
  return ("zerg.conn: %d"):format(self._id)
end

ffi.metatype(conn_t, metatable)

---A handle for the connection in `slot` whose handler is about to run. For zerg.runtime.
---@param pointer lightuserdata
---@param generation integer
---@param slot integer
---@param id integer
---@return zerg.conn
function M.begin(pointer, generation, slot, id)
  take_slot(slot, id)
  return conn_t(pointer, generation, slot, id)
end

---The same for one that comes from the version before, with its ctx. For zerg.runtime.
---@param pointer lightuserdata
---@param generation integer
---@param slot integer
---@param id integer
---@param ctx table|nil
---@return zerg.conn
function M.begin_carried(pointer, generation, slot, id, ctx)
  local conn = M.begin(pointer, generation, slot, id)
  if ctx then
    record_of(conn).ctx = ctx
  end
  return conn
end

---What ctx a connection has, nil: none yet. For zerg.runtime.
---@param id integer
---@return table|nil
function M.peek_ctx(id)
  local record = records[id]
  return record and record.ctx
end

function connect.own(conn)
  take_slot(conn._slot, conn._id)
end

function connect.disown(conn)
  M.leave(conn._slot, conn._id)
end

---The handler of the connection has ended: ctx goes, unless close callbacks are still to see it.
---For zerg.runtime.
---@param slot integer
---@param id integer
function M.finish(slot, id)
  serving_id[slot] = 0
  local record = records[id]
  if record then
    record.serving = false
    drop_if_done(record)
  end
end

---The next version has the connection: nothing of it is kept here, and its close callbacks are not
---called. For zerg.runtime.
---@param slot integer
---@param id integer
function M.leave(slot, id)
  local record = records[id]
  if record and watching[slot] == record then
    watching[slot] = nil
    record.callbacks, record.conn = nil, nil
  end
  M.finish(slot, id)
end

---No connection is served here any more: lets go of all that scripts kept about them. For
---zerg.runtime.
function M.forget_all()
  records, serving_id, watching = {}, {}, {}
end

local function run_callbacks(record, callbacks, reason)
  for _, fn in ipairs(callbacks) do
    task.run_logged(fn, record.conn, reason)
  end
  record.callbacks, record.conn = nil, nil
  drop_if_done(record)
end

---The peer has gone: runs the on_close callbacks of the connection, each once. For zerg.runtime: C
---calls it as a task that holds the slot, so that the callbacks still see whose connection it was.
---@param slot integer
---@param generation integer
---@param is_over? boolean of a connection that speaks HTTP: it has ended, and ctx goes with it
function M.closed(slot, generation, is_over)
  local record = watching[slot]
  if is_over then
    M.finish(slot, serving_id[slot])
  end
  if not record or record.conn._generation ~= generation then
    return
  end
  watching[slot] = nil
  local callbacks = record.callbacks
  -- Not nil: the record, and so ctx, stays until they have run.
  record.callbacks = {}
  run_callbacks(record, callbacks, outcome.reason(record.conn))
end

M.methods, M.getters = methods, getters

return M
