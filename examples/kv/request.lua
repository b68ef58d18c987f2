-- Requests in RESP2: an array of words, "*2\r\n$3\r\nGET\r\n$4\r\nname\r\n", or one line of text.
--
-- There are two ways in. `parse` takes whole, plain requests straight from the memory they were
-- received in; nearly all are. Whatever it does not know (requests that span buffers or have yet to
-- arrive, inline commands, mistakes) it leaves to `read`, which reads piece by piece, parks where
-- it must, and words the protocol errors as Redis does.

local ffi = require "ffi"
local inline = require "kv.inline"
local integer = require "kv.integer"
local memory = require "kv.memory"

local to_string = ffi.string

local CR, BULK, ARRAY, ZERO = 13, 36, 42, 48 -- \r $ * 0
local LINE_BYTES_MAX = 64 * 1024
local BULK_BYTES_MAX = 512 * 1024 * 1024
local WORDS_MAX = 2147483647
local PARSE_BYTES_MAX = 9999999 -- longer lengths are left to `read`

-- parse: from memory ------------------------------------------------------------------------------

--- A number of more than two digits at ptr[at], as parse_length.
local function parse_long_length(ptr, at, len)
  local n = 0
  while at + 1 < len and ptr[at] ~= CR do
    local digit = ptr[at] - ZERO
    n = 10 * n + digit
    if digit < 0 or digit > 9 or n > PARSE_BYTES_MAX then
      return -1, at
    end
    at = at + 1
  end
  return n, at + 2
end

--- The number at ptr[at], -1 when that is none for us, and where the next line starts. One and two
--- digits stand here without a loop, which LuaJIT would compile as a trace of its own.
local function parse_length(ptr, at, len)
  if at + 3 > len then
    return -1, at
  end
  local first, second = ptr[at] - ZERO, ptr[at + 1]
  if first < 0 or first > 9 then
    return -1, at
  elseif second == CR then
    return first, at + 3
  end
  second = second - ZERO
  if first == 0 or second < 0 or second > 9 then
    return -1, at
  elseif ptr[at + 2] == CR then
    return 10 * first + second, at + 4
  end
  return parse_long_length(ptr, at, len)
end

--- The word at ptr[at], nil when it is not all there, and where what follows it starts.
local function parse_word(ptr, at, len)
  if at >= len or ptr[at] ~= BULK then
    return nil, at
  end
  local n, start = parse_length(ptr, at + 1, len)
  local past = start + n + 2
  if n < 0 or past > len then
    return nil, at
  end
  return to_string(ptr + start, n), past
end

--- Takes the request at ptr[at] apart.
---@param ptr ffi.cdata* const uint8_t *
---@param at integer where the request starts, from 0
---@param len integer bytes at ptr
---@param words string[] gets the words
---@return integer count of words; 0 when this is not a whole and plain request
---@return integer past where the next request starts
local function parse(ptr, at, len, words)
  if ptr[at] ~= ARRAY then
    return 0, at
  end
  local count, next_at = parse_length(ptr, at + 1, len)
  if count < 1 then
    return 0, at
  end
  local word
  word, next_at = parse_word(ptr, next_at, len)
  if word and count > 1 then
    words[1] = word
    word, next_at = parse_word(ptr, next_at, len)
    if word and count > 2 then
      words[2] = word
      word, next_at = parse_word(ptr, next_at, len)
      for i = 4, count do
        words[i - 1] = word
        word, next_at = parse_word(ptr, next_at, len)
        if not word then
          break
        end
      end
    end
  end
  if not word then
    return 0, at
  end
  words[count] = word
  return count, next_at
end

-- read: from the reader ---------------------------------------------------------------------------

--- What the reader read instead of what was asked for: nothing, or, when it is a line without end,
--- the problem with that.
local function no_line(reason, problem)
  return nil, reason == "limit" and problem or nil
end

--- Reads the head of a word, "$5\r\n".
---@return integer? length
---@return string? problem
local function read_length(reader)
  local line, reason = reader:read_until("\r", LINE_BYTES_MAX)
  if not line or not reader:skip(1) then
    return no_line(reason, "too big bulk count string")
  elseif line:byte(1) ~= BULK then
    return nil, "expected '$', got '" .. (line == "" and "\r" or line:sub(1, 1)) .. "'"
  end
  local n = integer.parse(line:sub(2))
  if not n or n < 0 or n > BULK_BYTES_MAX then
    return nil, "invalid bulk length"
  end
  return tonumber(n)
end

--- The next word of an array. Without memory for it: an empty one, and the problem.
---@return string? word nil: no more can be read
---@return string? problem
local function read_word(reader)
  local n, mistake = read_length(reader)
  if not n then
    return nil, mistake
  end
  if not memory.has_room(n) then
    return reader:skip(n + 2) and "", "too big"
  end
  local data = reader:read_exactly(n)
  local word = data and tostring(data)
  return word and reader:skip(2) and word
end

--- Reads the head of a request, "*2\r\n".
---@return integer? count of words, maybe less than 1
---@return string? problem
local function read_count(reader)
  local line, reason = reader:read_until("\r", LINE_BYTES_MAX)
  if not line or not reader:skip(1) then
    return no_line(reason, "too big mbulk count string")
  end
  local count = integer.parse(line:sub(2))
  if not count or count > WORDS_MAX then
    return nil, "invalid multibulk length"
  end
  return tonumber(count)
end

local function read_array(reader)
  local count, mistake = read_count(reader)
  if not count then
    return nil, mistake
  end
  local words, is_refused = {}, false
  for i = 1, count do
    local word, problem = read_word(reader)
    if not word then
      return nil, problem
    end
    words[i], is_refused = word, is_refused or problem ~= nil
  end
  return words, #words, is_refused
end

local function read_inline(reader)
  local line, reason = reader:read_until("\n", LINE_BYTES_MAX)
  if not line then
    return no_line(reason, "too big inline request")
  end
  local words, count = inline.split(line:match("^(.-)\r?$"))
  if not words then
    return nil, "unbalanced quotes in request"
  end
  return words, count
end

--- Reads one request of any kind; parks until it is there.
---@param reader zerg.reader
---@return string[]? words nil: no more requests can be read
---@return integer|string|nil count of words, maybe 0; without words: what is wrong, if anything is
---@return boolean? is_refused there was no memory for all of it
local function read(reader)
  local data = reader:read()
  if not data then
    return nil
  end
  local first = data:byte(1)
  reader:advance(0)
  if first == ARRAY then
    return read_array(reader)
  end
  return read_inline(reader)
end

return { parse = parse, read = read, read_count = read_count, read_length = read_length }
