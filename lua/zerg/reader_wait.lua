-- How a reader waits: asks C for unread bytes and parks while they are not there, with its own way
-- out (reader:cancel). What the public methods of reader.lua and reader_number.lua share.
-- Written for the compiler, see conn_read.lua.

local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C
local fail, park = outcome.fail, park_module.park
local PARK, RANGE, CLOSED = C.ZERG_PARK, C.ZERG_RANGE, C.ZERG_CLOSED
local TIMEOUT = C.ZERG_WAKE_TIMEOUT

---Raises when the reader was completed, at the script's call of the method that checks.
---@param self zerg.reader
---@param method string as messages name it, "reader:read"
function M.check(self, method)
  if self._completed then
    error(method .. ": used after complete", 3)
  end
end

---@param self zerg.reader
---@return nil
---@return string reason
function M.take_cancel(self)
  self._canceled = false
  return nil, "canceled"
end

---Parks after a PARK. True: ask C again; else the reason with which the method returns nil.
---@param self zerg.reader
---@return boolean again
---@return string|nil reason
function M.parked(self)
  if park() == TIMEOUT then
    return false, "timeout"
  elseif self._canceled then
    self._canceled = false
    return false, "canceled"
  end
  return true
end

local parked = M.parked

local function want_parked(self, count)
  local again, reason = parked(self)
  if not again then
    return nil, reason
  end
  local rc = C.zerg_conn_want(self._conn, count)
  if rc == PARK then
    return want_parked(self, count)
  elseif rc == CLOSED then
    return nil, outcome.reason(self._conn)
  end
  return rc
end

---OK once `count` bytes are unread, else another result, or nil and a reason. Parks.
---@param self zerg.reader
---@param count integer
---@return integer|nil rc
---@return string|nil reason
function M.want(self, count)
  if self._canceled then
    return M.take_cancel(self)
  end
  local rc = C.zerg_conn_want(self._conn, count)
  if rc == PARK then
    return want_parked(self, count)
  end
  return rc
end

---What a method returns for a result of want() that is not OK. For a tail call.
---@param self zerg.reader
---@param method string
---@param rc integer|nil
---@param reason string|nil
---@param level? integer of the error, 2 by default: the caller of the method
---@return nil
---@return string reason
function M.refuse(self, method, rc, reason, level)
  if rc == nil then
    return nil, reason
  elseif rc == RANGE then
    return nil, "limit"
  end
  return fail(self._conn, method, rc, level)
end

---Bytes were consumed, by whatever method.
---@param self zerg.reader
function M.forget_examined(self)
  self._examined = 0
  self._given = 0
end

return M
