-- From the result codes of C to what a script sees: a condition of the outside world is nil and a
-- reason, cancellation is raised, misuse is an error at the line that called the method.

local park = require("zerg.park")
local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local CANCELED = park.CANCELED
local CLOSED = C.ZERG_CLOSED
local RESULT_CANCELED, END, NO_MEMORY = C.ZERG_CANCELED, C.ZERG_END, C.ZERG_NO_MEMORY

---Of a method that was called without a connection.
M.NO_SELF = "expected a connection as self: call it with a colon"

local misuse = {
  [CLOSED] = "used after close",
  [C.ZERG_BUSY] = "another coroutine is reading this connection",
  [C.ZERG_NO_TASK] = "cannot wait here, only a handler or a task can",
  [C.ZERG_RELEASED] = "view used after release",
  [C.ZERG_RANGE] = "out of range",
  [C.ZERG_FORWARDED] = "the connection is being forwarded",
  [C.ZERG_HTTP] = "the connection speaks HTTP: use req and res",
  [C.ZERG_FED] = "another coroutine relays to this connection",
  [C.ZERG_NO_CONN] = M.NO_SELF,
  [C.ZERG_SHUT] = "the connection was shut down for writing",
}

---Why a connection gives no more.
---@param conn zerg.conn
---@return string reason "closed" where C has none
function M.reason(conn)
  local reason = C.zerg_conn_reason(conn)
  return reason ~= nil and ffi.string(reason) or "closed"
end

-- By slot: the connection whose last read timed out, and what it had received by then.
local timed_out_id = {}
local timed_out_bytes = {}

---What a read gives that timed out. It shows in conn.reason until more has come.
---@param conn zerg.conn
---@return nil
---@return string reason
function M.time_out(conn)
  local slot = conn._slot
  timed_out_id[slot] = conn._id
  timed_out_bytes[slot] = C.zerg_conn_bytes_in(conn)
  return nil, "timeout"
end

---True when the last read of an open connection ended in time_out() and nothing has come since.
---@param conn zerg.conn
---@return boolean
function M.has_timed_out(conn)
  local slot = conn._slot
  return timed_out_id[slot] == conn._id and timed_out_bytes[slot] == C.zerg_conn_bytes_in(conn)
end

---What a method does with a result that is neither OK, PARK nor FULL. For a tail call from the
---public method: an error then names the line of the script that called it.
---@param conn zerg.conn|nil not needed where END cannot come
---@param method string as messages name it, "conn:read"
---@param rc integer enum zerg_result
---@param level? integer of an error, 2 by default: the caller of the method that ended in this call
---@return nil
---@return string reason
function M.fail(conn, method, rc, level)
  if rc == END then
    return nil, M.reason(conn)
  elseif rc == RESULT_CANCELED then
    error(CANCELED, 0)
  elseif rc == NO_MEMORY then
    return nil, "limit: out of memory"
  end
  error(method .. ": " .. (misuse[rc] or "unexpected result " .. rc), level or 2)
end

---fail() for a call that has parked: that another coroutine closed the connection meanwhile is no
---misuse of this one.
---@param conn zerg.conn
---@param method string
---@param rc integer
---@return nil
---@return string reason
function M.fail_parked(conn, method, rc)
  if rc == CLOSED then
    return nil, M.reason(conn)
  end
  return M.fail(conn, method, rc)
end

return M
