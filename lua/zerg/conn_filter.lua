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
local NOW, SOON = C.ZERG_ENDING_NOW, C.ZERG_ENDING_SOON
local conn_t, seq_t, view_t = zffi.conn_t, zffi.seq_t, zffi.view_t
local filtering_t = ffi.typeof("struct zerg_filtering")
local result_t = ffi.typeof("struct zerg_forward_result")

-- The first of HAProxy's two letters, by what broke a forward.
local CAUSES = { client = "C", server = "S", script = "I", total = "P", canceled = "K" }
local TIMED_OUT = { client = "c", server = "s" }
local OTHER = { client = "server", server = "client" }
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

-- Passes on what comes, to the end of the stream. What has broken otherwise, and why.
local function carry_filtered(source, sink, direction, filter)
  local data, reason = source:read()
  while data do
    C.zerg_filter_count(source, #data)
    local out = filter(data)
    if out ~= nil then
      local ok
      ok, reason = pass(direction, sink, out)
      if not ok then
        return "sink", reason
      end
    end
    data, reason = source:read()
  end
  return "source", reason
end

local function is_limit(reason)
  return reason:find("^limit") ~= nil
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
  local broken, reason
  if filter then
    broken, reason = carry_filtered(source, sink, direction, filter)
  else
    source:relay(sink, math.huge)
  end
  local ended = C.zerg_conn_reason(source)
  if broken == "sink" or (not broken and ended == nil) then
    return to, reason or outcome.reason(sink)
  elseif broken and is_limit(reason) then
    return from, reason
  end
  ended = outcome.reason(source)
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

local function cut(state)
  C.zerg_forward_end(state.client, NOW)
  C.zerg_forward_end(state.server, NOW)
end

-- The first that breaks ends both: the other side of one that has ended as that one did, when it
-- has what that one had sent; all else at once.
local function break_off(state, broken, reason)
  local first = state[broken]
  local is_first = not state.broken
  if is_first then
    state.broken, state.reason = broken, reason
  end
  if not first or is_limit(reason) then
    cut(state)
  elseif is_first then
    state.ending = C.zerg_forward_ending(first)
    if state.carried[broken] then
      C.zerg_forward_end(state[OTHER[broken]], SOON)
    else
      C.zerg_forward_end(state[OTHER[broken]], state.ending)
    end
  end
end

local function keep_error(state, err)
  if state.err == nil then
    state.err, state.trace = err, task.traceback_of(err)
  end
  break_off(state, rawequal(err, CANCELED) and "canceled" or "script", "aborted")
end

local function run_direction(state, from, to, filters)
  local ok, broken, reason = xpcall(carry, task.keep_traceback, state, from, to, filters)
  state.carried[from] = false
  if not ok then
    keep_error(state, broken)
  elseif state.broken == from then
    C.zerg_forward_end(state[to], state.ending)
  elseif broken then
    break_off(state, broken, reason)
  end
end

local function expire(state, seconds)
  task.sleep(seconds)
  break_off(state, "total", "timeout")
end

local function begin_tasks(state, filters, seconds_left)
  if seconds_left then
    state.clock = task.spawn(expire, state, seconds_left)
  end
  state.down = task.spawn(run_direction, state, "server", "client", filters)
end

local function run_both(state, filters)
  run_direction(state, "client", "server", filters)
  local ok, err = xpcall(state.down.join, task.keep_traceback, state.down)
  if not ok then
    keep_error(state, err)
    state.down:cancel()
  end
end

-- Runs both directions to their ends, also when this task is cancelled.
local function run(state, filters, seconds_left)
  local ok, err = xpcall(begin_tasks, task.keep_traceback, state, filters, seconds_left)
  if ok then
    run_both(state, filters)
  else
    keep_error(state, err)
  end
  if state.clock then
    state.clock:cancel()
  end
end

local function causes_of(state)
  local broken, reason = state.broken, state.reason
  if not broken then
    return "-", "-"
  elseif is_limit(reason) then
    return "R", "D"
  elseif reason == "aborted" and state[broken] then
    return "K", "D" -- by another task
  end
  return reason == "timeout" and TIMED_OUT[broken] or CAUSES[broken], "D"
end

local function report(state)
  local result = result_t()
  local cause, phase = causes_of(state)
  C.zerg_filter_end(state.filtering, cause:byte(), phase:byte(), result)
  return {
    server = ffi.string(result.server), bytes_up = result.bytes_up, bytes_down = result.bytes_down,
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

-- The server was connected to for nothing, or one of the two was closed meanwhile.
local function fail_to_begin(rc, server, target)
  if type(target) == "string" then
    server:close()
  end
  return connect.fail("conn:forward", rc, target)
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
  local name = type(target) == "string" and target or "conn"
  -- With its finalizer from the start: C keeps what is needed for the record.
  local filtering = ffi.gc(filtering_t(), C.zerg_filter_drop)
  rc = C.zerg_filter_begin(self, server, name, connect_s, filtering)
  if rc ~= OK then
    return fail_to_begin(rc, server, target)
  end
  local client, held = filtering._client, { self, server }
  server = filtering._server
  local state = {
    filtering = filtering, client = client, server = server, held = held,
    carried = { client = true, server = true }, -- by side: whether what it sends is being carried
    clock = nil, down = nil, broken = nil, reason = nil, ending = nil, err = nil, trace = nil,
  }
  -- As for a relay in C, nobody is in a read that could take too long.
  C.zerg_conn_set_timeouts(client, 0, -1, options.idle_s)
  C.zerg_conn_set_timeouts(server, 0, -1, options.idle_s)
  local total = opts.total_timeout or 0
  run(state, opts.filter, total > 0 and math.max(total - connect_s, 0) or nil)
  local result = report(state)
  if state.err ~= nil then
    return task.raise_again(state.err, state.trace)
  end
  return result
end

return M
