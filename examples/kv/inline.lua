-- Inline commands: a request typed as one line, `SET greeting "hello world"`, as a person at nc or
-- telnet would. Words are separated by blanks; double quotes take backslash escapes, single quotes
-- only \'.

local char, concat, match, sub = string.char, table.concat, string.match, string.sub

local ESCAPES = { n = "\n", r = "\r", t = "\t", b = "\b", a = "\a" }

--- Reads on from behind a double quote.
---@return string? text nil: the quote is not closed
---@return integer? past position behind the closing quote
local function double_quoted(line, at)
  local parts = {}
  while true do
    local plain, stop = match(line, '^([^"\\]*)()', at)
    parts[#parts + 1] = plain
    local mark, escaped = sub(line, stop, stop), sub(line, stop + 1, stop + 1)
    local hex = match(line, "^\\x(%x%x)", stop)
    if mark == '"' then
      return concat(parts), stop + 1
    elseif escaped == "" then
      return nil
    end
    parts[#parts + 1] = hex and char(tonumber(hex, 16)) or ESCAPES[escaped] or escaped
    at = stop + (hex and 4 or 2)
  end
end

--- The same behind a single quote.
local function single_quoted(line, at)
  local parts = {}
  while true do
    local plain, stop = match(line, "^([^'\\]*)()", at)
    parts[#parts + 1] = plain
    local mark = sub(line, stop, stop)
    if mark == "'" then
      return concat(parts), stop + 1
    elseif mark == "" then
      return nil
    end
    local is_quote = sub(line, stop + 1, stop + 1) == "'"
    parts[#parts + 1] = is_quote and "'" or "\\"
    at = stop + (is_quote and 2 or 1)
  end
end

--- Reads the word at `at`, which may go on in quotes: ab"c d" is one word, and ends with its quote.
local function next_word(line, at)
  local plain, stop = match(line, "^([^ \t\r\n\"']*)()", at)
  local mark = sub(line, stop, stop)
  if mark ~= '"' and mark ~= "'" then
    return plain, stop
  end
  local quoted = mark == '"' and double_quoted or single_quoted
  local text, past = quoted(line, stop + 1)
  if not text or match(line, "^%S", past) then
    return nil
  end
  return plain .. text, past
end

--- Splits a line into words.
---@param line string without its line end
---@return string[]? words nil: the quotes are not balanced
---@return integer? count
local function split(line)
  line = match(line, "^[^%z]*")
  local words, count, at = {}, 0, match(line, "^%s*()")
  while at <= #line do
    local word, past = next_word(line, at)
    if not word then
      return nil
    end
    count = count + 1
    words[count] = word
    at = match(line, "^%s*()", past)
  end
  return words, count
end

return { split = split }
