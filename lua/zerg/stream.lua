-- zerg.stream: the file-like adapter. Answers are Lua strings, copied once from the received
-- buffers when they are there whole. What came of an answer that is not complete yet is collected
-- in a buffer of the stream, so that a long line or a large count never holds more than one
-- received buffer.

local string_buffer = require("string.buffer")

local bytes = require("zerg.bytes")
local conn_write = require("zerg.conn_write")
local outcome = require("zerg.outcome")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C
local park = park_module.park
local seq_t = zffi.seq_t
local OK, PARK, CLOSED = C.ZERG_OK, C.ZERG_PARK, C.ZERG_CLOSED
local TIMEOUT = C.ZERG_WAKE_TIMEOUT

local LINE_BYTES_MAX = 1024 * 1024

---@class zerg.stream.options
---@field max? integer longest line, 1 MiB by default

---The file-like adapter of a connection.
---@class zerg.stream
---@field package _conn zerg.conn
---@field package _max integer
---@field package _partial string.buffer|nil received bytes of an answer that is not complete
local methods = {}

local metatable = { __name = "zerg.stream", __index = methods }

function metatable.__tostring(self)
  return ("zerg.stream: %d"):format(self._conn._id)
end

---For conn:stream().
---@param conn zerg.conn
---@param opts? zerg.stream.options
---@return zerg.stream
function M.new(conn, opts)
  local max = bytes.max_option("conn:stream", opts, LINE_BYTES_MAX)
  return setmetatable({ _conn = conn, _max = max, _partial = false }, metatable)
end

-- Level of the script's call as seen from a function called in the same place: the first frame that
-- is not of this file.
local own_source = debug.getinfo(1, "S").source
local function script_level()
  local level = 3
  while debug.getinfo(level, "S") and debug.getinfo(level, "S").source == own_source do
    level = level + 1
  end
  return level
end

-- nil and a reason, or an error at the script's call.
local function fail(self, rc)
  return nil, select(2, outcome.fail(self._conn, "stream:read", rc, script_level()))
end

local function partial_len(self)
  return self._partial and #self._partial or 0
end

-- The first bytes of the partial answer, all of them by default. What is left of it belongs to this
-- version of the scripts, and so does the connection until then.
local function take_partial(self, count)
  local partial = self._partial
  if not partial then
    return ""
  end
  local text = partial:get(count)
  C.zerg_conn_set_partial(self._conn, #partial > 0 and 1 or 0)
  return text
end

local function await_parked(self)
  if park() == TIMEOUT then
    return nil, "timeout"
  end
  local rc = C.zerg_conn_want(self._conn, 1)
  if rc == OK then
    return true
  elseif rc == PARK then
    return await_parked(self)
  elseif rc == CLOSED then
    return nil, outcome.reason(self._conn)
  end
  return fail(self, rc)
end

-- Parks until bytes are unread. True, or nil and the reason.
local function await(self)
  local rc = C.zerg_conn_want(self._conn, 1)
  if rc == OK then
    return true
  elseif rc == PARK then
    return await_parked(self)
  end
  return fail(self, rc)
end

local function take_seq(self, len)
  local seq = seq_t()
  local rc = C.zerg_conn_take(self._conn, len, seq)
  if rc ~= OK then
    return fail(self, rc)
  end
  return seq
end

-- The first `len` unread bytes as a string, after the partial answer.
local function take_string(self, len)
  if len == 0 then
    return take_partial(self)
  end
  local seq, reason = take_seq(self, len)
  if not seq then
    return nil, reason
  end
  local text = bytes.seq_string(seq, 0, len)
  C.zerg_seq_release(seq)
  if partial_len(self) > 0 then
    return take_partial(self) .. text
  end
  return text
end

-- Moves all unread bytes to the partial answer. True, or nil and the reason.
local function keep(self)
  local len = C.zerg_conn_unread(self._conn)
  if len == 0 then
    return true
  end
  local partial = self._partial
  if not partial then
    partial = string_buffer.new()
    self._partial = partial
  end
  local seq, reason = take_seq(self, len)
  if not seq then
    return nil, reason
  end
  for view in seq:views() do
    partial:putcdata(view._data, view._len)
  end
  C.zerg_seq_release(seq)
  C.zerg_conn_set_partial(self._conn, 1)
  return true
end

local function keep_and_await(self)
  local ok, reason = keep(self)
  if not ok then
    return nil, reason
  end
  return await(self)
end

-- What is left at the end of the stream counts as an answer; other reasons leave it for the next
-- read.
local function rest(self, reason)
  if reason == "closed" and partial_len(self) > 0 then
    return take_partial(self)
  end
  return nil, reason
end

-- A line with its "\n" that an earlier read of another kind left in the partial answer.
local function line_in_partial(self)
  local partial = self._partial
  if not partial or #partial == 0 then
    return nil
  end
  local at = partial:tostring():find("\n", 1, true)
  return at and take_partial(self, at)
end

-- The line whose end is not in the partial answer.
local function read_line_end(self)
  local at = C.zerg_conn_find(self._conn, "\n", 1, 0)
  local unread = C.zerg_conn_unread(self._conn)
  if partial_len(self) + (at >= 0 and at or unread) > self._max then
    return nil, "limit"
  elseif at >= 0 then
    return take_string(self, at + 1)
  end
  local ok, reason = keep_and_await(self)
  if not ok then
    return rest(self, reason)
  end
  return read_line_end(self)
end

-- The next line with its "\n", which the last one may lack.
local function read_whole_line(self)
  local line = line_in_partial(self)
  if line then
    return line
  end
  return read_line_end(self)
end

local function read_line(self)
  local line, reason = read_whole_line(self)
  if not line then
    return nil, reason
  end
  if line:byte(-1) == 10 then
    line = line:sub(1, line:byte(-2) == 13 and -3 or -2)
  end
  return line
end

local function read_all(self)
  local ok, reason = keep_and_await(self)
  if ok then
    return read_all(self)
  elseif reason == "closed" then
    return take_partial(self)
  end
  return nil, reason
end

local function read_count(self, count)
  local unread = C.zerg_conn_unread(self._conn)
  local missing = count - partial_len(self)
  if missing <= 0 and partial_len(self) > 0 then
    return take_partial(self, count)
  elseif unread >= missing and unread > 0 then
    return take_string(self, missing)
  end
  local ok, reason = keep_and_await(self)
  if not ok then
    return rest(self, reason)
  end
  return read_count(self, count)
end

local formats = { l = read_line, L = read_whole_line, a = read_all }

local function read_format(self, format)
  if type(format) == "number" and format >= 0 and format < math.huge then
    return read_count(self, math.floor(format))
  end
  local read = type(format) == "string" and formats[format:match("^%*?(%a)$")]
  if not read then
    local got = type(format) == "string" and "'" .. format .. "'" or tostring(format)
    error('stream:read: expected "*l", "*L", "*a" or a count of bytes, got ' .. got, 3)
  end
  return read(self)
end

-- One answer after another; stops after the first nil, as io.read does.
local function read_formats(self, at, results, formats_given)
  for index = at, #formats_given do
    local answer, reason = read_format(self, formats_given[index])
    if answer == nil then
      results[index + 1] = reason
      return unpack(results, 1, index + 1)
    end
    results[index] = answer
  end
  return unpack(results, 1, #formats_given)
end

---Reads like a Lua file: "*l" a line without its end ("\n" or "\r\n"), "*L" with it, "*a" all up to
---the end of the stream, a number that many bytes (fewer only at the end). The star may be left
---out. Parks.
---@param format? string|integer "*l" by default
---@param ... string|integer more of them, one answer each
---@return string|nil ... nil at the end of the stream
---@return string|nil reason after a nil
function methods.read(self, format, ...)
  if select("#", ...) > 0 then
    return read_formats(self, 1, {}, { format, ... })
  end
  local answer, reason = read_format(self, format or "l")
  if answer == nil then
    return nil, reason
  end
  return answer
end

---Iterates over lines (or answers of another format) up to the end of the stream. Each step parks.
---@param format? string|integer "*l" by default
---@return fun(): string|nil, string|nil
function methods.lines(self, format)
  return function()
    return methods.read(self, format)
  end
end

---Stages values as conn:write does. Parks only when more than write_buffer_max is
---staged.
---@param ... string|number|zerg.view|zerg.seq
---@return zerg.stream|nil stream itself
---@return string|nil reason
function methods.write(self, ...)
  return conn_write.write_as("stream:write", self, self._conn, ...)
end

---Parks until everything staged is with the kernel.
---@return true|nil ok
---@return string|nil reason
function methods.flush(self)
  return conn_write.flush(self._conn, "stream:flush")
end

---Closes the connection after what is staged.
function methods.close(self)
  self._conn:close()
end

return M
