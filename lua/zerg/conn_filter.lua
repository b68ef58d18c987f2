-- conn:forward with filters: each direction that has one is a loop that reads, asks the filter and
-- writes what it gives; the other is C's. The two directions are two tasks, and the first that
-- breaks ends both.

local connect = require("zerg.connect")
local outcome = require("zerg.outcome")
local task = require("zerg.task")
local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local FULL, END = C.ZERG_FULL, C.ZERG_END
local seq_t = zffi.seq_t
local result_t = ffi.typeof("struct zerg_forward_result")

local CONNECT_OPTIONS = { "connect_timeout", "hash_key", "proxy_protocol", "proxy_fields" }
local ALLOWED = {
  connect_timeout = true, hash_key = true, proxy_protocol = true, proxy_fields = true, fresh = true,
}
local TIMED_OUT = { client = "c", server = "s" }
local ABORTED = { client = "C", server = "S" }
local FILTERS = { up = true, down = true, up_end = true, down_end = true }

local function check_filter(filters)
  for name, fn in pairs(filters) do
    if not FILTERS[name] then
      error("conn:forward: filter: unknown direction '" .. tostring(name) .. "'", 3)
    elseif type(fn) ~= "function" then
      error("conn:forward: filter." .. name .. ": expected a function, got " .. type(fn), 3)
    end
  end
end

local function connect_options(opts)
  local taken = { fresh = true }
  for _, name in ipairs(CONNECT_OPTIONS) do
    taken[name] = opts[name]
  end
  return taken
end

-- Writes what a filter gave; a received sequence goes on without a copy.
local function pass(to, data)
  if not ffi.istype(seq_t, data) then
    return to:write(data)
  end
  local rc = C.zerg_conn_pass_seq(to, data)
  if rc == END then
    return nil, outcome.reason(to)
  elseif rc == FULL then
    return to:write("") -- which waits for room
  elseif rc ~= C.ZERG_OK then
    return outcome.fail(to, "conn:forward", rc)
  end
  return to
end

-- One direction of a forward: from one side to the other, to the end of the stream.
---@param state table what the two directions share
---@param from string "client" or "server"
---@param to string the other one
---@param filter function|nil
---@param finish function|nil gives what goes last
local function carry(state, from, to, filter, finish)
  local source, sink = state[from], state[to]
  local count = from == "client" and "bytes_up" or "bytes_down"
  if not filter then
    local _, _, moved = source:relay(sink, math.huge)
    state[count] = moved
  else
    for data in source:reads() do
      state[count] = state[count] + #data
      local out = filter(data)
      local ok, reason = true, nil
      if out ~= nil then
        ok, reason = pass(sink, out)
      end
      if not ok then
        return to, reason
      end
    end
  end
  local reason = outcome.reason(source)
  if reason ~= "closed" then
    return from, reason
  end
  local last = finish and finish()
  if last ~= nil then
    sink:write(last)
  end
  sink:shutdown()
  return nil
end

-- Notes how a direction ended, and ends the other with it when it broke.
local function note(state, broken, reason)
  if broken and not state.broken then
    state.broken, state.reason = broken, reason
    state.client:abort()
    state.server:abort()
  end
end

local function run_direction(state, from, to, filter, finish)
  local ok, broken, reason = xpcall(carry, state.traceback, state, from, to, filter, finish)
  if ok then
    note(state, broken, reason)
  else
    state.err = state.err or broken
    note(state, "script", "error: " .. tostring(broken))
  end
end

local function report(state, cause, phase)
  local result = result_t()
  result.bytes_up, result.bytes_down = state.bytes_up, state.bytes_down
  result.duration_s = C.zerg_now() - state.started
  result.server = state.address
  C.zerg_session_report(state.client, state.target, result, state.connect_s, cause:byte(),
    phase:byte())
  return tonumber(result.duration_s)
end

local function cause_of(state)
  if not state.broken then
    return "-", "-"
  elseif state.broken == "script" then
    return "I", "D"
  elseif state.broken == "total" then
    return "P", "D"
  end
  local letters = state.reason == "timeout" and TIMED_OUT or ABORTED
  return letters[state.broken], "D"
end

local function expire(state, seconds)
  task.sleep(seconds)
  note(state, "total", "timeout")
end

local function open(self, target, opts)
  if type(target) ~= "string" then
    return target
  end
  local options, anchor = connect.options("conn:forward", connect_options(opts), ALLOWED)
  options.client = self
  return connect.dial("conn:forward", target, options, anchor)
end

local function printed(conn)
  local port = conn.remote_port
  return port > 0 and ("%s:%d"):format(conn.remote_addr, port) or conn.remote_addr
end

---conn:forward with opts.filter: filter.up and filter.down are called with each received sequence
---of their direction; what they return goes on, nil drops it.
---@param self zerg.conn
---@param target string|zerg.conn
---@param opts table
---@return zerg.forward.result|nil
---@return string|nil reason
function M.forward(self, target, opts)
  check_filter(opts.filter)
  local started = C.zerg_now()
  local server, reason = open(self, target, opts)
  local state = {
    client = self, server = server, target = type(target) == "string" and target or "conn",
    address = "", started = started, connect_s = C.zerg_now() - started, bytes_up = 0,
    bytes_down = 0, traceback = task.keep_traceback,
  }
  if not server then
    report(state, reason == "timeout" and "s" or "S", "C")
    return nil, reason
  end
  state.address = printed(server)
  if opts.idle_timeout then
    self:timeout({ idle = opts.idle_timeout })
    server:timeout({ idle = opts.idle_timeout })
  end
  local clock = opts.total_timeout and opts.total_timeout > 0
    and task.spawn(expire, state, opts.total_timeout)
  local filters = opts.filter
  local down = task.spawn(run_direction, state, "server", "client", filters.down, filters.down_end)
  run_direction(state, "client", "server", filters.up, filters.up_end)
  down:join()
  if clock then
    clock:cancel()
  end
  local duration = report(state, cause_of(state))
  server:close()
  if state.err then
    error(state.err, 0)
  end
  return {
    server = state.address, bytes_up = state.bytes_up, bytes_down = state.bytes_down,
    duration = duration, reason = state.reason or "closed",
  }
end

return M
