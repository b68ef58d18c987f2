-- zerg.reader: the pipe adapter, with the semantics of .NET's PipeReader. Unread bytes stay in the
-- connection (C holds them); the reader only remembers how many of them were examined, so that
-- read() parks until there are more. Numbers are in reader_number.lua. Written for the
-- compiler, see conn_read.lua.

local bytes = require("zerg.bytes")
local numbers = require("zerg.reader_number")
local outcome = require("zerg.outcome")
local wait = require("zerg.reader_wait")
local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C
local misuse = bytes.misuse
local check, take_cancel, parked = wait.check, wait.take_cancel, wait.parked
local want, refuse, forget_examined = wait.want, wait.refuse, wait.forget_examined
local seq_t = zffi.seq_t
local OK, PARK = C.ZERG_OK, C.ZERG_PARK

local BYTES_MAX = 1024 * 1024
local UINT32_MAX = 4294967295

---@class zerg.reader.options
---@field max? integer what read_until and read_line take at most, 1 MiB by default

---The pipe adapter of a connection. Sequences it gives are borrowed until the next call of a method
---that reads or consumes.
---@class zerg.reader
---@field package _conn zerg.conn
---@field package _max integer
---@field package _examined integer unread bytes that were looked at already
---@field package _passed integer bytes of the connection that had been consumed by then
---@field package _given integer length of what read() gave last, 0 after advance()
---@field package _canceled boolean
---@field package _completed boolean
local methods = {}

for name, method in pairs(numbers) do
  methods[name] = method
end

local metatable = { __name = "zerg.reader", __index = methods }

function metatable.__tostring(self)
  return ("zerg.reader: %d"):format(self._conn._id)
end

---For conn:reader().
---@param conn zerg.conn
---@param opts? zerg.reader.options
---@return zerg.reader
function M.new(conn, opts)
  return setmetatable({
    _conn = conn,
    _max = bytes.max_option("conn:reader", opts, BYTES_MAX),
    _examined = 0,
    _passed = 0,
    _given = 0,
    _canceled = false,
    _completed = false,
  }, metatable)
end

-- How many of the unread bytes were examined. Some may be gone by other ways than the reader's, as
-- by conn:relay.
local function still_examined(self)
  local count = self._examined
  if count == 0 then
    return 0
  end
  local conn = self._conn
  local passed = C.zerg_conn_bytes_in(conn) - C.zerg_conn_unread(conn) - self._passed
  if passed > 0 then
    count = passed < count and count - passed or 0
    self._examined = count
    self._passed = self._passed + passed
  end
  return count
end

local function read_parked(self, seq)
  local again, reason = parked(self)
  if not again then
    return nil, reason
  end
  local rc = C.zerg_conn_peek(self._conn, self._examined + 1, seq)
  if rc == OK then
    self._given = seq._len
    return seq
  elseif rc == PARK then
    return read_parked(self, seq)
  end
  return outcome.fail_parked(self._conn, "reader:read", rc)
end

---All unconsumed bytes, parking until there are more than were examined before. At the end of the
---stream: what is left that was not examined, then nil.
---@return zerg.seq|nil seq
---@return string|nil reason
function methods.read(self)
  check(self, "reader:read")
  if self._canceled then
    return take_cancel(self)
  end
  local seq = seq_t()
  local rc = C.zerg_conn_peek(self._conn, still_examined(self) + 1, seq)
  if rc == OK then
    self._given = seq._len
    return seq
  elseif rc == PARK then
    return read_parked(self, seq)
  end
  return refuse(self, "reader:read", rc)
end

---What read() would give without parking: nil when no byte is there that was not examined. At the
---end of the stream: what is left, examined or not.
---@return zerg.seq|nil seq
---@return string|nil reason "canceled"
function methods.try_read(self)
  check(self, "reader:try_read")
  if self._canceled then
    return take_cancel(self)
  end
  local conn = self._conn
  local seq = seq_t()
  local rc = C.zerg_conn_peek(conn, 0, seq)
  if rc ~= OK then
    return refuse(self, "reader:try_read", rc)
  end
  local len = seq._len
  if len == 0 or (len <= still_examined(self) and C.zerg_conn_reason(conn) == nil) then
    return nil
  end
  self._given = len
  return seq
end

---Says what became of the bytes that read() gave: the first `consumed` go back to the kernel, and
---the next read() waits for more than the first `examined`. The sequence ends.
---@param consumed integer
---@param examined? integer consumed by default
function methods.advance(self, consumed, examined)
  check(self, "reader:advance")
  examined = examined or consumed
  if not bytes.is_count(consumed, 0, self._given) then
    return misuse("reader:advance", "consumed from 0 to " .. self._given .. " bytes", consumed)
  elseif not bytes.is_count(examined, consumed, self._given) then
    return misuse("reader:advance", "examined from consumed to " .. self._given, examined)
  end
  local rc = C.zerg_conn_skip(self._conn, consumed)
  if rc ~= OK then
    return refuse(self, "reader:advance", rc)
  end
  self._examined = examined - consumed
  self._given = 0
  if examined > consumed then
    self._passed = C.zerg_conn_bytes_in(self._conn) - C.zerg_conn_unread(self._conn)
  end
end

---Makes a parked or else the next call that reads return nil, "canceled". From another coroutine.
function methods.cancel(self)
  self._canceled = true
  C.zerg_conn_wake_reader(self._conn)
end

---Ends the use of this reader. Unconsumed bytes stay with the connection.
function methods.complete(self)
  self._completed = true
end

---Exactly n bytes, consumed. Parks.
---@param n integer
---@return zerg.seq|nil seq
---@return string|nil reason when fewer are left and no more will come; those stay unread
function methods.read_exactly(self, n)
  check(self, "reader:read_exactly")
  if not bytes.is_count(n, 0, UINT32_MAX) then
    return misuse("reader:read_exactly", "a count of bytes", n)
  end
  local seq = seq_t()
  if n == 0 then
    return seq
  end
  local rc, reason = want(self, n)
  if rc == OK then
    rc = C.zerg_conn_take(self._conn, n, seq)
  end
  if rc ~= OK then
    return refuse(self, "reader:read_exactly", rc, reason)
  end
  forget_examined(self)
  return seq
end

local function skip(self, n)
  local conn = self._conn
  local unread = C.zerg_conn_unread(conn)
  if n <= unread and not self._canceled then
    local rc = C.zerg_conn_skip(conn, n)
    if rc == OK then
      return true
    end
    return refuse(self, "reader:skip", rc)
  end
  local rc, reason = want(self, 1)
  if rc == OK and unread > 0 then
    rc = C.zerg_conn_skip(conn, unread)
  end
  if rc ~= OK then
    return refuse(self, "reader:skip", rc, reason)
  end
  return skip(self, n - unread)
end

---Consumes n bytes. Parks.
---@param n integer
---@return true|nil ok
---@return string|nil reason when the stream ended before; what there was is consumed
function methods.skip(self, n)
  check(self, "reader:skip")
  if not bytes.is_count(n, 0) then
    return misuse("reader:skip", "a count of bytes", n)
  end
  forget_examined(self)
  C.zerg_conn_set_partial(self._conn, 1)
  local ok, reason = skip(self, n)
  C.zerg_conn_set_partial(self._conn, 0)
  return ok, reason
end

-- The first `len` unread bytes, which are there, as a string; they and `more` after them are
-- consumed.
local function take_string(self, len, more)
  local conn, text = self._conn, ""
  forget_examined(self)
  if len > 0 then
    local seq = seq_t()
    local rc = C.zerg_conn_take(conn, len, seq)
    if rc ~= OK then
      return nil, rc
    end
    text = bytes.seq_string(seq, 0, len)
  end
  -- This also ends the sequence.
  local rc = C.zerg_conn_skip(conn, more)
  if rc ~= OK then
    return nil, rc
  end
  return text
end

-- 0-based position of the delimiter at or after `from`, at most `max`. Else nil, a result (or nil)
-- and a reason. Parks.
local function find_delimiter(self, delimiter, max, from)
  local conn, len = self._conn, #delimiter
  local at = C.zerg_conn_find(conn, delimiter, len, from)
  if at >= 0 and at <= max then
    return at
  end
  local unread = C.zerg_conn_unread(conn)
  if at >= 0 or unread >= max + len then
    return nil, nil, "limit"
  end
  local rc, reason = want(self, unread + 1)
  if rc ~= OK then
    return nil, rc, reason
  end
  return find_delimiter(self, delimiter, max, math.max(0, unread - len + 1))
end

---The bytes before the delimiter as a string; they and the delimiter are consumed. Parks.
---@param delimiter string
---@param max? integer longest answer, 1 MiB by default
---@return string|nil text
---@return string|nil reason "limit" when max bytes came without one; nothing is consumed then
function methods.read_until(self, delimiter, max)
  check(self, "reader:read_until")
  max = max or self._max
  if type(delimiter) ~= "string" then
    return misuse("reader:read_until", "a delimiter", delimiter)
  elseif delimiter == "" then
    error('reader:read_until: expected a delimiter of at least one byte, got ""', 2)
  elseif not bytes.is_number(max, 0) then
    return misuse("reader:read_until", "max to be a count of bytes", max)
  end
  local at, rc, reason = find_delimiter(self, delimiter, max, 0)
  if at then
    local text
    text, rc = take_string(self, at, #delimiter)
    if text then
      return text
    end
  end
  return refuse(self, "reader:read_until", rc, reason)
end

---The next line as a string, without its "\n" or "\r\n". Parks.
---@param max? integer longest line, 1 MiB by default
---@return string|nil line
---@return string|nil reason "limit" when max bytes came without its end; nothing is consumed then
function methods.read_line(self, max)
  check(self, "reader:read_line")
  max = max or self._max
  if not bytes.is_number(max, 0) then
    return misuse("reader:read_line", "max to be a count of bytes", max)
  end
  -- One more for a "\r", which is not of the line.
  local at, rc, reason = find_delimiter(self, "\n", max + 1, 0)
  if at then
    local text
    text, rc = take_string(self, at, 1)
    if text then
      if text:byte(-1) == 13 then
        text = text:sub(1, -2)
      end
      return text
    end
  end
  return refuse(self, "reader:read_line", rc, reason)
end

return M
