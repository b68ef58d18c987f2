-- Connections of the engine's model: received pieces, what was written, and the peer's side.

local ffi = require("ffi")

local leases = require("support.engine_leases")
local proxy = require("support.engine_proxy")
local tasks = require("support.engine_tasks")

local M = { api = {} }

local api = M.api

-- Values of api.h's enums.
local OK, PARK, FULL = 0, 1, 2
local END, CLOSED, BUSY, RELEASED, RANGE = -1, -2, -3, -6, -8
local BORROWED = 1

local anchors = {} -- received bytes are never freed
local conns = {} -- by slot
local next_id = 1
local texts = {}

local peer_methods = {}
peer_methods.__index = peer_methods

local function c_text(text)
  if not texts[text] then
    texts[text] = ffi.new("char[?]", #text + 1, text)
  end
  return ffi.cast("const char *", texts[text])
end

-- ---- reading ----

local function conn_of(handle)
  local conn = conns[handle._slot]
  return conn and conn.generation == handle._generation and conn or nil
end

proxy.conn_of = conn_of
M.conn_of = conn_of

local function end_borrow(conn)
  for _, lease in ipairs(conn.borrowed) do
    leases.finish(lease)
  end
  conn.borrowed = {}
end

local function unread_of(conn)
  local count = 0
  for _, piece in ipairs(conn.pieces) do
    count = count + piece.len
  end
  return count
end

local function skip(conn, count)
  while count > 0 do
    local piece = conn.pieces[1]
    local part = math.min(count, piece.len)
    piece.data, piece.len, count = piece.data + part, piece.len - part, count - part
    if piece.len == 0 then
      table.remove(conn.pieces, 1)
    end
  end
end

-- Borrows the first `count` unread bytes.
local function borrow(conn, count, out)
  if count == 0 then
    out._first, out._len = nil, 0
    return OK
  end
  local first, last
  local left = count
  for _, piece in ipairs(conn.pieces) do
    local part = math.min(left, piece.len)
    if part == 0 then
      break
    end
    local lease = leases.new(piece.data, part)
    table.insert(conn.borrowed, lease)
    if last then
      last.next = lease
    end
    first, last, left = first or lease, lease, left - part
  end
  leases.fill_seq(out, first, 0, count, BORROWED)
  return OK
end

-- Also of a call that comes back after its wake.
local function begin_read(handle, count)
  local conn = conn_of(handle)
  if not conn then
    return END
  elseif conn.closed then
    return CLOSED
  elseif conn.reader then
    return BUSY
  elseif count > M.want_max then
    return RANGE
  end
  end_borrow(conn)
  if unread_of(conn) >= count then
    return OK, conn
  elseif conn.reason then
    return END
  end
  local rc = tasks.park("read", conn.read_timeout, function()
    conn.reader = nil
  end)
  if rc == PARK then
    conn.reader, conn.wanted = tasks.running(), count
  end
  return rc
end

M.want_max = 4 * 1024 * 1024

function api.zerg_conn_want(handle, count)
  return (begin_read(handle, count))
end

function api.zerg_conn_peek(handle, count, out)
  local rc, conn = begin_read(handle, count)
  return rc == OK and borrow(conn, unread_of(conn), out) or rc
end

function api.zerg_conn_take(handle, count, out)
  local rc, conn = begin_read(handle, count)
  if rc == OK then
    borrow(conn, count, out)
    skip(conn, count)
  end
  return rc
end

function api.zerg_conn_read(handle, out)
  local rc, conn = begin_read(handle, 1)
  if rc == OK then
    local count = unread_of(conn)
    borrow(conn, count, out)
    skip(conn, count)
  end
  return rc
end

function api.zerg_conn_next_view(handle, view)
  local conn = conn_of(handle)
  local piece = conn and conn.pieces[1]
  if not piece then
    return END
  end
  local lease = leases.new(piece.data, piece.len)
  table.insert(conn.borrowed, lease)
  leases.fill_view(view, lease, piece.data, piece.len, BORROWED)
  table.remove(conn.pieces, 1)
  return OK
end

function api.zerg_conn_skip(handle, count)
  local conn = conn_of(handle)
  if not conn then
    return END
  elseif conn.closed then
    return CLOSED
  elseif count > unread_of(conn) then
    return RANGE
  end
  end_borrow(conn)
  skip(conn, count)
  return OK
end

function api.zerg_conn_unread(handle)
  local conn = conn_of(handle)
  return conn and unread_of(conn) or 0
end

local function unread_text(conn)
  local parts = {}
  for index, piece in ipairs(conn.pieces) do
    parts[index] = ffi.string(piece.data, piece.len)
  end
  return table.concat(parts)
end

function api.zerg_conn_front(handle, count)
  local conn = conn_of(handle)
  if not conn or unread_of(conn) < count then
    return nil
  end
  conn.scratch = ffi.new("uint8_t[8]", 0)
  ffi.copy(conn.scratch, unread_text(conn):sub(1, count), count)
  return ffi.cast("const uint8_t *", conn.scratch)
end

function api.zerg_conn_find(handle, needle, needle_len, from)
  local conn = conn_of(handle)
  if not conn then
    return -1
  end
  return (unread_text(conn):find(ffi.string(needle, needle_len), from + 1, true) or 0) - 1
end

function api.zerg_conn_set_partial(handle, is_partial)
  local conn = conn_of(handle)
  if conn then
    conn.is_partial = is_partial ~= 0
  end
end

function api.zerg_conn_wake_reader(handle)
  local conn = conn_of(handle)
  if conn and conn.reader then
    tasks.wake(conn.reader)
  end
end

-- ---- writing ----

local function begin_write(handle)
  local conn = conn_of(handle)
  if not conn then
    return END
  elseif conn.closed or conn.half_closed then
    return CLOSED
  elseif conn.reason and conn.reason ~= "closed" then
    return END
  end
  return OK, conn
end

local function stage(conn, text)
  conn.staged[#conn.staged + 1] = text
  conn.staged_bytes = conn.staged_bytes + #text
  if conn.staged_bytes > conn.write_buffer_max then
    return FULL
  end
  if not conn.stalled then
    conn.staged_bytes = 0
  end
  return OK
end

function api.zerg_conn_write(handle, data, len)
  local rc, conn = begin_write(handle)
  return rc == OK and stage(conn, ffi.string(ffi.cast("const void *", data), len)) or rc
end

function api.zerg_conn_write_seq(handle, seq)
  local rc, conn = begin_write(handle)
  if rc == OK and leases.api.zerg_seq_check(seq) ~= OK then
    return RELEASED
  end
  return rc == OK and stage(conn, leases.text(seq)) or rc
end

local function park_writer(conn)
  local rc = tasks.park("write", conn.write_timeout)
  if rc == PARK then
    table.insert(conn.writers, tasks.running())
  end
  return rc
end

function api.zerg_conn_wait_room(handle)
  local rc, conn = begin_write(handle)
  if rc ~= OK or conn.staged_bytes <= conn.write_buffer_max then
    return rc
  end
  return park_writer(conn)
end

function api.zerg_conn_flush(handle)
  local rc, conn = begin_write(handle)
  if rc ~= OK or conn.staged_bytes == 0 then
    return rc
  end
  return park_writer(conn)
end

function api.zerg_conn_reserve(handle, count, out)
  local rc, conn = begin_write(handle)
  if rc == OK then
    conn.reserved = ffi.new("uint8_t[?]", count)
    conn.reserved_bytes = count
    out[0] = conn.reserved
  end
  return rc
end

function api.zerg_conn_commit(handle, count)
  local rc, conn = begin_write(handle)
  if rc ~= OK then
    return rc
  elseif not conn.reserved or count > conn.reserved_bytes then
    return RANGE
  end
  local text = ffi.string(conn.reserved, count)
  conn.reserved = nil
  return stage(conn, text)
end

function api.zerg_conn_shutdown(handle)
  local conn = conn_of(handle)
  if not conn then
    return END
  elseif conn.closed then
    return CLOSED
  elseif conn.how or (conn.reason and conn.reason ~= "closed") then
    return END
  end
  conn.half_closed = true
  return OK
end

local function tell_users(conn)
  if conn.reader then
    tasks.wake(conn.reader)
  end
  for _, task in ipairs(conn.writers) do
    tasks.wake(task)
  end
end

local function close(handle, how)
  local conn = conn_of(handle)
  if conn and not conn.closed then
    conn.closed, conn.how = true, how
    conn.reason = conn.reason or "closed"
    tell_users(conn)
  end
end

M.close = close

---Ends a connection in a way that makes no misuse of its use afterwards.
function M.finish(handle, how)
  local conn = conn_of(handle)
  if conn and not conn.how then
    conn.how, conn.half_closed = how, false
    conn.reason = conn.reason or "aborted"
    tell_users(conn)
  end
end

function api.zerg_conn_close(handle)
  close(handle, "close")
end

function api.zerg_conn_abort(handle)
  close(handle, "abort")
end

-- ---- about a connection ----

function api.zerg_conn_reason(handle)
  local conn = conn_of(handle)
  local reason = not conn and "closed" or conn.reason
  return reason and c_text(reason) or nil
end

local function constant(value)
  return function(handle)
    return conn_of(handle) and value or (type(value) == "number" and 0 or c_text(""))
  end
end

api.zerg_conn_remote_addr = constant(c_text("192.0.2.7"))
api.zerg_conn_local_addr = constant(c_text("127.0.0.1"))
api.zerg_conn_listener = constant(c_text("echo"))
api.zerg_conn_remote_port = constant(40000)
api.zerg_conn_local_port = constant(7000)
function api.zerg_conn_bytes_in(handle)
  local conn = conn_of(handle)
  return conn and conn.bytes_in or 0
end

api.zerg_conn_bytes_out = constant(22)
api.zerg_conn_held = constant(3)

function api.zerg_conn_set_timeouts(handle, read_s, write_s, idle_s)
  local conn = conn_of(handle)
  if not conn then
    return END
  elseif conn.closed then
    return CLOSED
  end
  conn.read_timeout = read_s > 0 and read_s or read_s < 0 and conn.read_timeout or nil
  conn.write_timeout = write_s > 0 and write_s or write_s < 0 and conn.write_timeout or nil
  conn.idle_timeout = idle_s
  return OK
end

function api.zerg_conn_watch_close(handle)
  local conn = conn_of(handle)
  if not conn or conn.reason then
    return END
  end
  conn.watched = true
  return OK
end

-- ---- the peer's side ----

---The peer of a new connection. slot: one that is free again.
---@param slot? integer
function M.new_peer(slot)
  slot = slot or #conns + 1
  local generation = conns[slot] and conns[slot].generation + 1 or 1
  local peer = setmetatable({
    slot = slot,
    generation = generation,
    id = next_id,
    pieces = {},
    borrowed = {},
    bytes_in = 0,
    staged = {},
    staged_bytes = 0,
    write_buffer_max = 1024,
    writers = {},
  }, peer_methods)
  next_id = next_id + 1
  conns[slot] = peer
  return peer
end

---A connection whose handler runs as runtime.serve would have it.
---@param handler function
---@param slot? integer
function M.connect(handler, slot)
  local conn_module = require("zerg.conn")
  local peer = M.new_peer(slot)
  slot = peer.slot
  peer.task = tasks.spawn(nil, function()
    local conn = conn_module.begin(ffi.cast("void *", slot), peer.generation, slot, peer.id)
    peer.conn = conn
    handler(conn)
    conn_module.finish(slot, peer.id)
    close(conn, "close")
    peer:announce_end()
  end)
  tasks.run_ready()
  return peer
end

local function wake_reader(peer)
  if peer.reader and (peer.reason or unread_of(peer) >= peer.wanted) then
    tasks.wake(peer.reader)
  end
end

---Sends bytes that arrive in pieces of `size` bytes (one piece by default).
function peer_methods:send(bytes, size)
  size = size or math.max(#bytes, 1)
  self.bytes_in = self.bytes_in + #bytes
  for from = 1, #bytes, size do
    local part = bytes:sub(from, from + size - 1)
    local data = ffi.new("uint8_t[?]", #part)
    ffi.copy(data, part, #part)
    anchors[#anchors + 1] = data
    table.insert(self.pieces, { data = ffi.cast("const uint8_t *", data), len = #part })
  end
  wake_reader(self)
  tasks.run_ready()
  return self
end

-- What on_close was asked for is due, once.
function peer_methods:announce_end()
  if self.watched then
    self.watched = false
    tasks.spawn(nil, require("zerg.conn").closed, self.slot, self.generation)
  end
end

---The connection ends: "closed" (FIN), "reset" or another reason.
function peer_methods:finish(reason)
  self.reason = reason or "closed"
  wake_reader(self)
  self:announce_end()
  tasks.run_ready()
  return self
end

---Everything written so far, and forgets it.
function peer_methods:received()
  local text = table.concat(self.staged)
  self.staged = {}
  return text
end

---Stops or goes on taking what is written.
function peer_methods:stall(is_stalled)
  self.stalled = is_stalled
  if not is_stalled then
    self.staged_bytes = 0
    local writers = self.writers
    self.writers = {}
    for _, task in ipairs(writers) do
      tasks.wake(task)
    end
  end
  tasks.run_ready()
end

return M
