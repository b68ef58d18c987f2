-- conn:forward with filters: each direction that has one is a loop that reads, asks the filter and
-- writes what it gives; the other is C's. The two directions are two tasks, and the first that
-- breaks ends both.

local connect = require("zerg.connect")
local outcome = require("zerg.outcome")
local park = require("zerg.park")
local task = require("zerg.task")
local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local CANCELED = park.CANCELED
local OK, FULL, END = C.ZERG_OK, C.ZERG_FULL, C.ZERG_END
local NOW, ORDERLY = C.ZERG_ENDING_NOW, C.ZERG_ENDING_ORDERLY
local conn_t, seq_t, view_t = zffi.conn_t, zffi.seq_t, zffi.view_t
local result_t = ffi.typeof("struct zerg_forward_result")

-- The first of HAProxy's two letters, by what broke a forward.
local CAUSES = { client = "C", server = "S", script = "I", total = "P", canceled = "K" }
local TIMED_OUT = { client = "c", server = "s" }
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

-- ---- one direction ----

-- Writes what a filter gave; a received sequence goes on without a copy.
---@return zerg.conn|nil
---@return string|nil reason
local function pass(direction, to, data)
  if type(data) == "string" or type(data) == "number" or ffi.istype(view_t, data) then
    return to:write(data)
  elseif not ffi.istype(seq_t, data) then
    error(("conn:forward: filter.%s: expected a sequence, view, string or nil, got %s"):format(
      direction, type(data)), 0)
  end
  local rc = C.zerg_conn_pass_seq(to, data)
  if rc == END then
    return nil, outcome.reason(to)
  elseif rc == FULL then
    return to:write("") -- which waits for room
  elseif rc ~= OK then
    return outcome.fail(to, "conn:forward: filter." .. direction, rc, 0)
  end
  return to
end

-- Passes on what comes, to the end of the stream. The reason when `sink` takes no more.
local function carry_filtered(state, source, sink, direction, filter)
  local count = "bytes_" .. direction
  for data in source:reads() do
    state[count] = state[count] + #data
    local out = filter(data)
    if out ~= nil then
      local ok, reason = pass(direction, sink, out)
      if not ok then
        return reason
      end
    end
  end
end

-- One direction of a forward. When it has broken: the side that has, and its reason.
---@param state table what the two directions share
---@param from string "client" or "server"
---@param to string the other one
---@param filters table
---@return string|nil broken
---@return string|nil reason
local function carry(state, from, to, filters)
  local source, sink = state[from], state[to]
  local direction = from == "client" and "up" or "down"
  local filter, finish = filters[direction], filters[direction .. "_end"]
  local _, reason
  if filter then
    reason = carry_filtered(state, source, sink, direction, filter)
  else
    _, _, state["bytes_" .. direction] = source:relay(sink, math.huge)
  end
  local ended = C.zerg_conn_reason(source)
  if reason or ended == nil then
    return to, reason or outcome.reason(sink)
  end
  ended = ffi.string(ended)
  if ended ~= "closed" then
    return from, ended
  end
  local last = finish and finish()
  if last ~= nil then
    local ok
    ok, reason = pass(direction .. "_end", sink, last)
    if not ok then
      return to, reason
    end
  end
  if not sink:shutdown() then
    return to, outcome.reason(sink)
  end
end

-- ---- both ----

-- The first that breaks ends both: the other side of one that has ended as that one did, all else
-- at once.
local function break_off(state, broken, reason)
  if state.broken then
    return
  end
  state.broken, state.reason = broken, reason
  local first = state[broken]
  local ending = first and C.zerg_forward_ending(first) or NOW
  C.zerg_forward_end(state.client, ending)
  C.zerg_forward_end(state.server, ending)
end

local function keep_error(state, err)
  if state.err == nil then
    state.err, state.trace = err, task.traceback_of(err)
  end
  break_off(state, rawequal(err, CANCELED) and "canceled" or "script", "aborted")
end

local function run_direction(state, from, to, filters)
  local ok, broken, reason = xpcall(carry, task.keep_traceback, state, from, to, filters)
  if not ok then
    keep_error(state, broken)
  elseif broken then
    break_off(state, broken, reason)
  end
end

local function expire(state, seconds)
  task.sleep(seconds)
  break_off(state, "total", "timeout")
end

-- Runs both directions to their ends, also when this task is cancelled.
local function run(state, filters, seconds_left)
  local clock = seconds_left and task.spawn(expire, state, seconds_left)
  local down = task.spawn(run_direction, state, "server", "client", filters)
  run_direction(state, "client", "server", filters)
  local ok, err = xpcall(down.join, task.keep_traceback, down)
  if not ok then
    keep_error(state, err)
  end
  if clock then
    clock:cancel()
  end
end

local function causes_of(state)
  local broken = state.broken
  if not broken then
    return "-", "-"
  end
  return state.reason == "timeout" and TIMED_OUT[broken] or CAUSES[broken], "D"
end

local function report(state)
  local result = result_t()
  local cause, phase = causes_of(state)
  result.bytes_up, result.bytes_down = state.bytes_up, state.bytes_down
  result.duration_s = C.zerg_now() - state.started
  result.server = state.server_name
  C.zerg_forward_report(state.client, state.target, result, state.connect_s, cause:byte(),
    phase:byte())
  return {
    server = state.server_name, bytes_up = state.bytes_up, bytes_down = state.bytes_down,
    duration = result.duration_s, reason = state.reason or "closed",
  }
end

-- A connection to the target, or rc for connect.fail().
local function open(target, options, anchor)
  if type(target) == "string" then
    options.no_reuse = 1
    return connect.dial(target, options, anchor)
  elseif not ffi.istype(conn_t, target) then
    return nil, C.ZERG_NO_TARGET
  end
  local rc = C.zerg_forward_check(target)
  return rc == OK and target or nil, rc
end

---conn:forward with opts.filter: filter.up and filter.down are called with each received sequence
---of their direction; what they return goes on, nil drops it. filter.up_end and filter.down_end are
---called once, when that direction has ended in order; what they return goes last. For a tail call
---from that method.
---@param self zerg.conn
---@param target string|zerg.conn
---@param opts table
---@param options ffi.cdata* struct zerg_dial_options of opts
---@param anchor table of the options
---@return zerg.forward.result|nil
---@return string|nil reason
function M.forward(self, target, opts, options, anchor)
  check_filter(opts.filter)
  local started = C.zerg_now()
  local server, rc = nil, C.zerg_forward_check(self)
  if rc == OK then
    options.client = self
    server, rc = open(target, options, anchor)
  end
  if not server then
    return connect.fail("conn:forward", rc, target)
  end
  local connect_s = C.zerg_now() - started
  local state = {
    client = self, server = server, target = type(target) == "string" and target or "conn",
    server_name = ffi.string(C.zerg_forward_server(server)), started = started,
    connect_s = connect_s, bytes_up = 0, bytes_down = 0,
    broken = nil, reason = nil, err = nil, trace = nil,
  }
  -- As for a relay in C, nobody is in a read that could take too long.
  C.zerg_conn_set_timeouts(self, 0, -1, options.idle_s)
  C.zerg_conn_set_timeouts(server, 0, -1, options.idle_s)
  local total = opts.total_timeout or 0
  run(state, opts.filter, total > 0 and math.max(total - connect_s, 0) or nil)
  local result = report(state)
  C.zerg_forward_end(self, ORDERLY)
  C.zerg_forward_end(server, ORDERLY)
  if state.err ~= nil then
    return task.raise_again(state.err, state.trace)
  end
  return result
end

return M
