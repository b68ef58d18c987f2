-- Which line of zerg.lua says what. A table that was returned no longer knows its lines, so the
-- source is read a second time, as tokens: the table constructor after the last top-level `return`
-- (or that of the local it names) becomes a tree of keys with their lines. It follows constructors
-- only; what a function or a variable made has no line of its own and gets that of the nearest key
-- around it.

local M = {}

local locator = { __name = "zerg.config.locator" }
locator.__index = locator

local BLOCK_OPENS = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }
local BLOCK_CLOSES = { ["end"] = true, ["until"] = true }
local BRACKET_OPENS = { ["("] = true, ["["] = true, ["{"] = true }
local BRACKET_CLOSES = { [")"] = true, ["]"] = true, ["}"] = true }
local ESCAPES = { n = "\n", t = "\t", r = "\r", a = "\a", b = "\b", f = "\f", v = "\v" }

---Position after the long bracket that opens at `position`, nil when there is none. An unfinished
---one ends the text.
---@param source string
---@param position integer
---@return integer|nil past
---@return string|nil content
local function long_bracket(source, position)
  local level, first = source:match("^%[(=*)%[\r?\n?()", position)
  if not level then
    return nil
  end
  local from, to = source:find("]" .. level .. "]", first, true)
  if not from then
    return #source + 1, source:sub(first)
  end
  return to + 1, source:sub(first, from - 1)
end

---@param source string
---@param position integer of the opening quote
---@return integer past
---@return string content
local function quoted(source, position)
  local quote = source:sub(position, position)
  local at = position + 1
  while at <= #source do
    local char = source:sub(at, at)
    if char == quote then
      break
    end
    at = at + (char == "\\" and 2 or 1)
  end
  local content = source:sub(position + 1, at - 1):gsub("\\(.)", function(char)
    return ESCAPES[char] or char
  end)
  return at + 1, content
end

---@param source string
---@param position integer
---@return integer past
local function comment(source, position)
  local past = long_bracket(source, position + 2)
  return past or source:find("\n", position, true) or #source + 1
end

---The token at `position`: its kind (nil: nothing but a comment), its text, and the position after
---it.
---@return string|nil kind "name" | "string" | "number" | "op"
---@return string|number|nil text
---@return integer past
local function next_token(source, position)
  local word, past = source:match("^([%a_\128-\255][%w_\128-\255]*)()", position)
  if word then
    return "name", word, past
  end
  if source:find("^%.?%d", position) then
    local digits
    digits, past = source:match("^([%w.]*[eEpP][+-]%w+)()", position)
    if not digits or digits:find("^0[xX]%x*[eE]") then
      digits, past = source:match("^([%w.]+)()", position)
    end
    return "number", tonumber(digits), past
  end
  if source:find("^[\"']", position) then
    local after, content = quoted(source, position)
    return "string", content, after
  end
  if source:find("^%-%-", position) then
    return nil, nil, comment(source, position)
  end
  local after, content = long_bracket(source, position)
  if after then
    return "string", content, after
  end
  local operator = source:match("^[=~<>]=", position) or source:match("^%.%.%.?", position)
  operator = operator or source:sub(position, position)
  return "op", operator, position + #operator
end

---@param source string
---@return table[] tokens { kind, text, line }
local function tokens_of(source)
  local tokens, line, position = {}, 1, source:match("^#[^\n]*()") or 1
  while true do
    local start = source:find("%S", position)
    if not start then
      return tokens
    end
    line = line + select(2, source:sub(position, start - 1):gsub("\n", ""))
    local kind, text, past = next_token(source, start)
    if kind then
      tokens[#tokens + 1] = { kind = kind, text = text, line = line }
    end
    line = line + select(2, source:sub(start, past - 1):gsub("\n", ""))
    position = past
  end
end

---+1 for a token that opens a block or bracket, -1 for one that closes, else 0.
local function depth_change(token)
  if token.kind == "name" then
    return BLOCK_OPENS[token.text] and 1 or BLOCK_CLOSES[token.text] and -1 or 0
  elseif token.kind == "op" then
    return BRACKET_OPENS[token.text] and 1 or BRACKET_CLOSES[token.text] and -1 or 0
  end
  return 0
end

local function is_op(token, text)
  return token ~= nil and token.kind == "op" and token.text == text
end

---Index of the first `,` `;` or `}` at or after `index` that does not belong to an inner block or
---bracket.
local function value_end(tokens, index)
  local depth = 0
  for at = index, #tokens do
    local token = tokens[at]
    if depth == 0 and (is_op(token, ",") or is_op(token, ";") or is_op(token, "}")) then
      return at
    end
    depth = depth + depth_change(token)
  end
  return #tokens + 1
end

---The key that starts at `index`: its kind of key, nil for a positional entry, false for one that
---has to be computed.
---@return any key
---@return integer value index of its value's first token
local function entry_key(tokens, index)
  local first, second = tokens[index], tokens[index + 1]
  if first.kind == "name" and is_op(second, "=") then
    return first.text, index + 2
  elseif not is_op(first, "[") then
    return nil, index
  elseif second and second.kind ~= "op" and is_op(tokens[index + 2], "]") then
    return second.text, index + 4
  end
  local depth, at = 1, index + 1
  while depth > 0 and tokens[at] do
    depth = depth + depth_change(tokens[at])
    at = at + 1
  end
  return false, at + 1
end

---The constructor whose `{` is at `index`, as { line, keys = { [key] = node } }.
local function constructor(tokens, index)
  local node, position = { line = tokens[index].line, keys = {} }, 0
  index = index + 1
  while tokens[index] and not is_op(tokens[index], "}") do
    local line = tokens[index].line
    local key, value = entry_key(tokens, index)
    if key == nil then
      position = position + 1
      key = position
    end
    local child = is_op(tokens[value], "{") and constructor(tokens, value) or { keys = {} }
    child.line = line
    node.keys[key] = child
    index = value_end(tokens, value)
    if is_op(tokens[index], ",") or is_op(tokens[index], ";") then
      index = index + 1
    end
  end
  return node
end

---Calls visit(index, token) for every token that is in no block and no bracket.
local function each_top_level(tokens, visit)
  local depth = 0
  for index, token in ipairs(tokens) do
    if depth == 0 then
      visit(index, token)
    end
    depth = depth + depth_change(token)
  end
end

---Index of the `{` in the last top-level `name = {`, nil when there is none.
local function assigned_constructor(tokens, name)
  local found
  each_top_level(tokens, function(index, token)
    if token.kind == "name" and token.text == name and is_op(tokens[index + 1], "=")
      and is_op(tokens[index + 2], "{") then
      found = index + 2
    end
  end)
  return found
end

---Reads the source once; what it cannot follow it leaves out.
---@param source string text of zerg.lua, which compiles
---@return table locator with :line(path)
function M.new(source)
  local tokens = tokens_of(source)
  local last
  each_top_level(tokens, function(index, token)
    if token.kind == "name" and token.text == "return" then
      last = index
    end
  end)
  local self = setmetatable({ root = { line = 1, keys = {} } }, locator)
  if not last then
    return self
  end
  local value = tokens[last + 1]
  local open = is_op(value, "{") and last + 1
  if value and value.kind == "name" then
    open = assigned_constructor(tokens, value.text)
  end
  self.root = open and constructor(tokens, open) or self.root
  self.root.line = tokens[last].line
  return self
end

---The line on which the key at `path` starts; of the nearest key around it when it has none, and of
---`return` at last.
---@param path any[] names and positions, outermost first
---@return integer line
function locator:line(path)
  local node = self.root
  for _, key in ipairs(path) do
    local child = node.keys[key]
    if not child then
      break
    end
    node = child
  end
  return node.line
end

return M
