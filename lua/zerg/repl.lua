-- Evaluates what an operator types (`zerg repl`) in a live state: like the prompt of luajit, an
-- expression gives its values. Nothing can park here. What is printed goes to the operator; what
-- tasks and callbacks print later, when nobody waits for it any more, goes to the log.

local json = require("cjson")
local log = require("zerg.log")
local zerg = require("zerg")
local zffi = require("zerg.ffi")

local M = {}

local C = zffi.C

local ITEMS_MAX = 20
local DEPTH_MAX = 3
local IDENTIFIER = "^[%a_][%w_]*$"

-- What may follow a first byte of UTF-8, by the byte: how many, and the range of the first of them.
local function continuation(byte)
  if byte >= 0xc2 and byte <= 0xdf then
    return 1, 0x80, 0xbf
  elseif byte >= 0xe0 and byte <= 0xef then
    return 2, byte == 0xe0 and 0xa0 or 0x80, byte == 0xed and 0x9f or 0xbf
  elseif byte >= 0xf0 and byte <= 0xf4 then
    return 3, byte == 0xf0 and 0x90 or 0x80, byte == 0xf4 and 0x8f or 0xbf
  end
  return nil
end

-- How many bytes of text from `at` on are a character, 0: none are.
local function character_bytes(text, at)
  local more, least, greatest = continuation(text:byte(at))
  local second = text:byte(at + 1)
  if not more or not second or second < least or second > greatest then
    return 0
  end
  local rest = text:sub(at + 2, at + more)
  return #rest == more - 1 and not rest:find("[^\128-\191]") and more + 1 or 0
end

local function escape_others(text)
  local parts, at = {}, 1
  while at <= #text do
    local bytes = character_bytes(text, at)
    if bytes > 0 then
      parts[#parts + 1] = text:sub(at, at + bytes - 1)
    else
      parts[#parts + 1] = ("\\%03d"):format(text:byte(at))
    end
    at = at + math.max(bytes, 1)
  end
  return table.concat(parts)
end

-- What JSON can carry: bytes that are no text are written as Lua does in strings.
local function printable(text)
  return (text:gsub("%z", "\\0"):gsub("[\128-\255]+", escape_others))
end

-- As tostring(), but always a string.
local function text_of(value)
  local text = tostring(value)
  return type(text) == "string" and text or type(value)
end

local show

-- Numbers first, then strings, each in order, then all else as it comes.
local function sorted_keys(value)
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(left, right)
    if type(left) == type(right) and (type(left) == "number" or type(left) == "string") then
      return left < right
    end
    return type(left) == "number" and type(right) ~= "number"
      or type(left) == "string" and type(right) ~= "number" and type(right) ~= "string"
  end)
  return keys
end

local function show_key(key)
  if type(key) == "string" and key:find(IDENTIFIER) then
    return key
  end
  return "[" .. show(key, DEPTH_MAX) .. "]"
end

local function show_table(value, depth)
  if depth >= DEPTH_MAX then
    return next(value) == nil and "{}" or "{ ... }"
  end
  local parts = {}
  for index, key in ipairs(sorted_keys(value)) do
    if index > ITEMS_MAX then
      parts[#parts + 1] = "..."
      break
    end
    local item = show(value[key], depth + 1)
    parts[#parts + 1] = key == index and item or ("%s = %s"):format(show_key(key), item)
  end
  return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

-- As Lua source where there is one.
function show(value, depth)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  elseif type(value) == "table" and getmetatable(value) == nil then
    return show_table(value, depth)
  end
  return text_of(value)
end

-- What else the code is wrong near stands in quotes of its own there.
local function ends_too_early(problem)
  return problem:find("near '<eof>'$") ~= nil
end

-- An expression, or else statements; and how many values come before those of an expression. With
-- one before it, a call is no tail call, which would leave no line to name in an error. Of what is
-- neither, the problem, and whether that is its early end: if more could make an expression of it.
local function compile(code, env)
  local chunk, problem = load("return nil, " .. code, "=repl", "t", env)
  if chunk then
    return chunk, 1
  end
  local is_unfinished = ends_too_early(problem) and code:find("%S") ~= nil
  local statements, statement_problem = load(code, "=repl", "t", env)
  if statements then
    return statements, 0
  end
  if is_unfinished then
    return nil, problem, true
  end
  return nil, statement_problem, ends_too_early(statement_problem)
end

-- What scripts see, and `zerg`, unless a global of theirs has that name.
local function global(_, name)
  if name == "zerg" and rawget(_G, "zerg") == nil then
    return zerg
  end
  return _G[name]
end

local function environment(output)
  local function print(...)
    if output.is_sent then
      return log.print(...)
    end
    local parts = {}
    for index = 1, select("#", ...) do
      parts[index] = text_of((select(index, ...)))
    end
    output[#output + 1] = table.concat(parts, "\t") .. "\n"
  end
  return setmetatable({ print = print }, { __index = global, __newindex = _G })
end

local function shown(before, ...)
  local values = {}
  for index = before + 1, select("#", ...) do
    values[index - before] = printable(show((select(index, ...)), 0))
  end
  return values
end

-- The evaluation is over with an error: what follows is not to be ended.
local function traceback_of(err)
  C.zerg_eval_end()
  local ok, text = pcall(text_of, err)
  return debug.traceback(printable(ok and text or type(err)), 2) -- which ends at a NUL
end

-- Runs a chunk, but not for ever: see src/script/eval_limit.h. No hook is called in compiled code,
-- so there is none meanwhile, not even of what scripts have compiled before.
local function run_limited(before, chunk)
  local was_on = jit.status()
  jit.flush()
  jit.off()
  local ok, result = xpcall(function()
    C.zerg_eval_begin()
    local values = shown(before, chunk())
    C.zerg_eval_end()
    return values
  end, traceback_of)
  if was_on then
    jit.on()
  end
  return ok, result
end

---Evaluates code. Does not park, nor may the code.
---@param code string
---@return string json { output = what was printed, values = what it gave, as texts } or
---{ output =, error = with a traceback, unfinished = true when code only ends too early }
function M.eval(code)
  local output = {}
  local reply = {}
  local chunk, before, is_unfinished = compile(code, environment(output))
  if not chunk then
    reply.error = printable(before)
    reply.unfinished = is_unfinished or nil
  else
    local ok, result = run_limited(before, chunk)
    reply[ok and "values" or "error"] = ok and result or printable(result)
  end
  if reply.values and #reply.values == 0 then
    reply.values = nil -- it would be an object
  end
  reply.output = printable(table.concat(output))
  output.is_sent = true
  return json.encode(reply)
end

return M
