-- Views and sequences of the engine's model: leases on received bytes. Leases that ended are
-- poisoned (data NULL, a new generation), so that use of one is seen.

local ffi = require("ffi")

local M = { api = {} }

local api = M.api

-- Values of api.h's enums.
local OK, RELEASED, RANGE = 0, -6, -8
local SLICE, BORROWED, RETAINED = 0, 1, 2

local anchors = {} -- lease memory is never freed, as in the engine

function M.new(data, len)
  local lease = ffi.new("struct zerg_lease", data, len, 1, nil)
  anchors[#anchors + 1] = lease
  return lease
end

function M.finish(lease)
  if lease.data ~= nil then
    lease.data = nil
    lease.generation = lease.generation + 1
  end
end

local function pieces_of(seq)
  local lease, offset, left = seq._first, seq._offset, seq._len
  return function()
    if left == 0 or lease == nil then
      return nil
    end
    local part = math.min(left, lease.len - offset)
    local this, data = lease, lease.data ~= nil and lease.data + offset
    lease, offset, left = lease.next, 0, left - part
    return this, data, part
  end
end

function api.zerg_seq_check(seq)
  if seq._first ~= nil and seq._first.generation ~= seq._generation then
    return RELEASED
  end
  for _, data in pieces_of(seq) do
    if not data then
      return RELEASED
    end
  end
  return OK
end

function M.text(seq)
  local parts = {}
  for _, data, len in pieces_of(seq) do
    parts[#parts + 1] = ffi.string(data, len)
  end
  return table.concat(parts)
end

function api.zerg_seq_copy(seq, from, len, out)
  if api.zerg_seq_check(seq) ~= OK then
    return RELEASED
  end
  assert(from + len <= seq._len)
  ffi.copy(out, M.text(seq):sub(from + 1, from + len), len)
  return OK
end

function api.zerg_seq_find(seq, needle, needle_len, from)
  if api.zerg_seq_check(seq) ~= OK then
    return RELEASED
  end
  return (M.text(seq):find(ffi.string(needle, needle_len), from + 1, true) or 0) - 1
end

function M.fill_view(view, lease, data, len, kind)
  view._data, view._len, view._lease = data, len, lease
  view._generation, view._kind = lease.generation, kind
end

function M.fill_seq(seq, first, offset, len, kind)
  seq._first, seq._offset, seq._len = first, offset, len
  seq._generation, seq._kind = first.generation, kind
end

function api.zerg_seq_view_at(seq, from, view)
  if api.zerg_seq_check(seq) ~= OK then
    return RELEASED
  elseif from >= seq._len then
    return RANGE
  end
  for lease, data, len in pieces_of(seq) do
    if from < len then
      local whole = from == 0 and len == lease.len and seq._kind ~= SLICE
      M.fill_view(view, lease, data + from, len - from, whole and BORROWED or SLICE)
      return OK
    end
    from = from - len
  end
end

function api.zerg_seq_slice(seq, from, len, out)
  if api.zerg_seq_check(seq) ~= OK then
    return RELEASED
  elseif from + len > seq._len then
    return RANGE
  end
  for lease, data, part in pieces_of(seq) do
    if from < part then
      M.fill_seq(out, lease, (data - lease.data) + from, len, SLICE)
      return OK
    end
    from = from - part
  end
end

function api.zerg_seq_retain(seq)
  if api.zerg_seq_check(seq) ~= OK then
    return RELEASED
  elseif seq._kind == RETAINED or seq._first == nil then
    return OK
  end
  local first, last
  for _, data, len in pieces_of(seq) do
    local lease = M.new(data, len)
    if last then
      last.next = lease
    end
    first, last = first or lease, lease
  end
  M.fill_seq(seq, first, 0, seq._len, RETAINED)
  return OK
end

function api.zerg_seq_release(seq)
  if seq._first == nil or seq._first.generation ~= seq._generation then
    return
  end
  seq._generation = seq._generation - 1
  if seq._kind ~= SLICE then
    for lease in pieces_of(seq) do
      M.finish(lease)
    end
  end
end

function api.zerg_view_retain(view)
  if view._lease.generation ~= view._generation then
    return RELEASED
  end
  M.fill_view(view, M.new(view._data, view._len), view._data, view._len, RETAINED)
  return OK
end

function api.zerg_view_release(view)
  if view._lease.generation == view._generation then
    view._generation = view._generation - 1
    if view._kind ~= SLICE then
      M.finish(view._lease)
    end
  end
end

return M
