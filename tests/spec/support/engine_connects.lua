-- Connections to others in the engine's model: targets that the spec says, forwards and relays that
-- it ends by hand. What is under way for a task is kept with the task, as in C.

local ffi = require("ffi")

local conns = require("support.engine_conns")
local leases = require("support.engine_leases")
local tasks = require("support.engine_tasks")

local M = { api = {} }

local api = M.api

-- Values of api.h's enums.
local OK, PARK, FULL = 0, 1, 2
local END, CLOSED, BUSY, CANCELED, NO_TASK = -1, -2, -3, -4, -5
local RELEASED, RANGE, FORWARDED, NO_TARGET, LOOKUP_PARK = -6, -8, -9, -10, -11
local FED = -12

M.results = { CLOSED = CLOSED, BUSY = BUSY, FORWARDED = FORWARDED, RANGE = RANGE, FED = FED }

---By target: a function that gives a peer, or nil and a reason; or { parks = that function }, whose
---outcome is there after M.answer(target). An unknown one is no target.
M.targets = {}
---By host: a list of addresses, or a reason.
M.hosts = {}
M.options = nil -- of the last connect or forward
M.records = {} -- of forwards with filters
M.kept = {} -- handles that keepalive took
M.let_go = 0
M.check = OK -- what zerg_forward_check() gives
M.staged_without_copy = 0

local waiting = {} -- by target, tasks
local reason_text = ""
local anchor

function M.reset()
  M.targets, M.hosts, M.records, M.kept, waiting = {}, {}, {}, {}, {}
  M.options, M.let_go, M.check, M.staged_without_copy = nil, 0, OK, 0
end

---What zerg_pending_reason() gives next. Gives END.
function M.fail(reason)
  reason_text = reason
  return END
end

local fail = M.fail

local function park(task, pending)
  task.pending = pending
  return tasks.park("pending")
end

-- ---- connecting ----

local function read_options(options)
  local key = options.hash_key
  M.options = {
    connect_s = options.connect_s, idle_s = options.idle_s, total_s = options.total_s,
    hash_key = key ~= nil and ffi.string(key, options.hash_key_len) or nil,
    proxy_version = options.proxy_version,
    fields = ffi.string(options.fields, options.fields_len),
    client = options.client ~= nil,
    no_reuse = options.no_reuse,
  }
end

local function take(outcome, out)
  local peer, reason = outcome()
  tasks.running().pending = nil
  if not peer then
    return fail(reason)
  end
  out._conn, out._generation = ffi.cast("void *", peer.slot), peer.generation
  out._slot, out._id = peer.slot, peer.id
  out._owned = ffi.cast("void *", peer.slot)
  return OK
end

function api.zerg_connect(target, len, options, out)
  local task = tasks.running()
  local entry = M.targets[target:sub(1, len)]
  if not task then
    return NO_TASK
  elseif not entry then
    return NO_TARGET
  elseif entry == "range" then
    return RANGE
  end
  read_options(options)
  if type(entry) == "function" then
    return take(entry, out)
  end
  waiting[target] = task
  return park(task, { parks = entry.parks, is_answered = false })
end

function api.zerg_connect_finish(out)
  local pending = tasks.running().pending
  if not pending then
    return END
  elseif not pending.is_answered then
    return tasks.park("pending")
  end
  return take(pending.parks, out)
end

---The outcome of a target that parks is there. stray: it is not, and the task wakes all the same.
function M.answer(target, stray)
  local task = waiting[target]
  task.pending.is_answered = not stray
  tasks.wake(task)
  tasks.run_ready()
end

function api.zerg_conn_keepalive(handle, idle_s)
  local conn = conns.conn_of(handle)
  if not conn then
    return handle._owned == nil and CLOSED or END
  elseif handle._owned == nil then
    return NO_TARGET
  elseif #conn.pieces > 0 then
    conns.close(handle, "close")
    return RANGE
  elseif conn.reason then
    return END
  end
  M.kept[#M.kept + 1] = { id = tonumber(handle._id), idle_s = idle_s }
  handle._owned, handle._generation = nil, handle._generation - 1
  return OK
end

function api.zerg_conn_let_go(handle)
  if handle._owned ~= nil then
    handle._owned = nil
    M.let_go = M.let_go + 1
    conns.close(handle, "close")
  end
end

-- ---- forwarding ----

function api.zerg_forward(_, target, len, options)
  local task = tasks.running()
  local entry = M.targets[target:sub(1, len)]
  if not task then
    return NO_TASK
  elseif M.check ~= OK then
    return M.check
  elseif not entry then
    return NO_TARGET
  end
  read_options(options)
  waiting[target] = task
  return park(task, { forward = true })
end

function api.zerg_forward_conn(handle, to, options)
  if handle._id == to._id then
    return NO_TARGET
  end
  read_options(options)
  waiting["conn"] = tasks.running()
  return park(tasks.running(), { forward = true })
end

---A forward ends: with a reason when no server was reached, or how it went.
function M.end_forward(target, reason, result)
  local task = waiting[target]
  task.pending.is_answered, task.pending.reason, task.pending.result = true, reason, result
  tasks.wake(task)
  tasks.run_ready()
end

local function c_string(text)
  anchor = ffi.new("char[?]", #text + 1, text)
  return ffi.cast("const char *", anchor)
end

local function c_static(text)
  M.statics = M.statics or {}
  M.statics[text] = M.statics[text] or ffi.new("char[?]", #text + 1, text)
  return ffi.cast("const char *", M.statics[text])
end

function api.zerg_forward_finish(out)
  local task = tasks.running()
  local pending = task.pending
  if not pending then
    return END
  elseif not pending.is_answered then
    return tasks.park("pending")
  end
  task.pending = nil
  if pending.reason then
    return fail(pending.reason)
  end
  local result = pending.result
  out.bytes_up, out.bytes_down, out.duration_s = result.bytes_up, result.bytes_down, result.duration
  out.server, out.reason = c_static(result.server), c_static(result.reason)
  return OK
end

function api.zerg_forward_check(handle)
  local conn = conns.conn_of(handle)
  if M.check ~= OK then
    return M.check
  elseif not conn then
    return fail("closed")
  end
  return OK
end

-- By the slot of either handle: the forward with filters that has it.
local filtering = {}

local function carried(handle)
  return {
    _conn = handle._conn, _generation = handle._generation, _slot = handle._slot, _id = handle._id,
    _carries = 1,
  }
end

function api.zerg_filter_begin(client, server, target, connect_s, out)
  if M.check ~= OK then
    return M.check
  end
  out._client, out._server = carried(client), carried(server)
  local state = {
    target = target, client = client._slot, server = server._slot, up = 0, down = 0,
    started = tasks.now - connect_s,
  }
  filtering[client._slot], filtering[server._slot] = state, state
  return OK
end

local function count(handle, bytes)
  local state = filtering[handle._slot]
  local direction = state.client == handle._slot and "up" or "down"
  state[direction] = state[direction] + tonumber(bytes)
end

api.zerg_filter_count = count

local ENDINGS = { [0] = "close", "break", "abort" }

function api.zerg_forward_end(handle, ending)
  if ENDINGS[ending] then
    conns.finish(handle, ENDINGS[ending])
  end
end

function api.zerg_forward_ending(handle)
  local conn = conns.conn_of(handle)
  return conn and conn.reason == "timeout" and 0 or 1
end

function api.zerg_filter_end(handle, cause, phase, out)
  local client, server = handle._client, handle._server
  local state = filtering[client._slot]
  M.records[#M.records + 1] = {
    target = state.target, server = "192.0.2.7:40000", up = state.up, down = state.down,
    ending = string.char(cause, phase),
  }
  out.bytes_up, out.bytes_down = state.up, state.down
  out.duration_s = tasks.now - state.started
  out.server = c_static("192.0.2.7:40000")
  filtering[client._slot], filtering[server._slot] = nil, nil
  conns.finish(client, "close")
  conns.finish(server, "close")
end

function api.zerg_filter_drop() end

-- ---- relaying a part ----

local function move(task)
  local pending = task.pending
  local source = conns.conn_of(pending.from)
  while pending.left > 0 and source.pieces[1] do
    local piece = source.pieces[1]
    local part = math.min(piece.len, pending.left)
    api.zerg_relay_write(pending.to, piece.data, part)
    conns.api.zerg_conn_skip(pending.from, part)
    pending.left, pending.moved = pending.left - part, pending.moved + part
    if filtering[pending.from._slot] then
      count(pending.from, part)
    end
  end
end

function api.zerg_relay_write(to, data, len)
  conns.api.zerg_conn_write(to, data, len)
end

local function finish_relay()
  local task = tasks.running()
  local pending = task.pending
  local source, sink = conns.conn_of(pending.from), conns.conn_of(pending.to)
  move(task)
  task.relay_moved = pending.moved
  if pending.left == 0 then
    task.pending = nil
    return OK
  elseif sink.reason and sink.reason ~= "closed" then
    task.pending = nil
    return fail(sink.reason)
  elseif source.reason then
    task.pending = nil
    return fail(source.reason)
  end
  local rc = tasks.park("read", source.read_timeout, function()
    source.reader = nil
  end)
  if rc == PARK then
    source.reader, source.wanted = task, 1
  end
  return rc
end

function api.zerg_relay(from, to, n)
  local task = tasks.running()
  if not task then
    return NO_TASK
  elseif M.check ~= OK then
    return M.check
  end
  task.pending = { from = from, to = to, left = n, moved = 0 }
  task.relay_moved = 0
  return finish_relay()
end

function api.zerg_relay_finish()
  return tasks.running().pending and finish_relay() or END
end

function api.zerg_relay_moved()
  return tasks.running().relay_moved or 0
end

function api.zerg_conn_pass_seq(handle, seq)
  if leases.api.zerg_seq_check(seq) ~= OK then
    return RELEASED
  end
  M.staged_without_copy = M.staged_without_copy + 1
  local rc = conns.api.zerg_conn_write_seq(handle, seq)
  return (rc == OK or rc == FULL) and rc or END
end

-- ---- names ----

function api.zerg_resolve(name, len)
  local task = tasks.running()
  local host = name:sub(1, len)
  if not task then
    return NO_TASK
  elseif host:find("[^%w.:-]") then
    return NO_TARGET
  end
  task.pending = { host = host }
  tasks.park("pending", 0)
  return PARK
end

function api.zerg_resolve_finish()
  local task = tasks.running()
  if not task.pending.is_woken then
    task.pending.is_woken = true
    return tasks.park("pending", 0) == PARK and LOOKUP_PARK or CANCELED
  end
  local found = M.hosts[task.pending.host]
  if type(found) == "table" then
    return #found
  end
  task.pending = nil
  return fail("dns: " .. (found or "no such name"))
end

function api.zerg_resolved(place)
  local pending = tasks.running().pending
  return c_string(pending and M.hosts[pending.host][place + 1] or "")
end

-- ---- all of them ----

function api.zerg_pending_shelve()
end

function api.zerg_pending_unshelve()
end

function api.zerg_pending_drop()
  local task = tasks.running()
  if task.pending then
    task.dropped = (task.dropped or 0) + 1
  end
  task.pending = nil
end

function api.zerg_pending_reason()
  return c_static(reason_text)
end

return M
