-- Moves counted bytes of one connection to another, whatever they are. Few are taken from the
-- receive buffers and written; many are left to relay(): C then moves them as they come, and this
-- coroutine is parked until the last one is on its way.

local FEW_BYTES = 4096

---@param reader zerg.reader of `from`
---@param from zerg.conn
---@param to zerg.conn
---@param count integer
---@return true? ok
---@return string? reason
---@return integer? moved how many bytes were taken from `from` before that
local function carry(reader, from, to, count)
  if count > FEW_BYTES then
    local _, reason, moved = from:relay(to, count)
    return not reason or nil, reason, moved
  end
  local data, problem = reader:read_exactly(count)
  if not data then
    return nil, problem, 0
  end
  local ok, reason = to:write(data)
  return ok and true, reason, count
end

return { carry = carry, FEW_BYTES = FEW_BYTES }
