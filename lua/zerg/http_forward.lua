-- req:forward: the script decides where a request goes and what changes, C does the rest.

local bytes = require("zerg.bytes")
local connect = require("zerg.connect")
local task = require("zerg.task")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local OK, PARK, HEAD = C.ZERG_OK, C.ZERG_PARK, C.ZERG_HEAD
local SENT, BUSY, BROKEN, NO_TARGET = C.ZERG_SENT, C.ZERG_BUSY, C.ZERG_BROKEN, C.ZERG_NO_TARGET
local FORWARDED = C.ZERG_FORWARDED
local BAD_NAME, BAD_VALUE = C.ZERG_BAD_NAME, C.ZERG_BAD_VALUE
local ANSWER = C.ZERG_HTTP_ANSWER
local headers_t = zffi.headers_t

local options_t = ffi.typeof("struct zerg_http_forward_options")
local fields_t = ffi.typeof("struct zerg_http_field[?]")
local result_t = ffi.typeof("struct zerg_http_forward_result")

-- As src/base/limits.h has them, or the configuration.
local RETRIES_MAX = 511
local METHOD_BYTES_MAX = 32
local PATH_BYTES_MAX = 16 * 1024
local FRAMED_APART = { HEAD = true, CONNECT = true }
local TARGET = 'the name of an upstream, "host:port", "[v6]:port", "unix:/path" or "srv:name"'

---How a request that was forwarded was answered.
---@class zerg.http.forward.result
---@field status integer of the answer, which the client has got, or gets
---@field server string
---@field bytes_up number of the request's body
---@field bytes_down number of the answer's; of both protocols' bytes where the status is 101
---@field duration number seconds from the call to the end
---@field reason string|nil why the answer was cut short, and the client's connection with it

---@alias zerg.http.fields table<string, string|number|false>

---@class zerg.http.forward.options
---@field path? string in place of the path, and of the query if it has a "?"
---@field method? string in place of the method; neither from nor to HEAD
---@field body? string in place of the body
---@field headers? zerg.http.fields to set in the request; false removes
---@field response_headers? zerg.http.fields to set in the answer; false removes
---@field on_response? fun(status: integer, headers: zerg.headers): zerg.http.fields|nil sees the
---head of the answer before it goes on; what it returns takes the place of response_headers
---@field connect_timeout? number seconds for each server that is tried
---@field read_timeout? number longest wait for something of the answer, in seconds
---@field retries? integer how many further servers may be tried
---@field hash_key? string what a hashing upstream chooses by; the client's address by default

local function is_seconds(value)
  return type(value) == "number" and value >= 0 and value < math.huge
end

local function is_method(value)
  return type(value) == "string" and value:find("^[%w!#$%%&'*+%-.^_`|~]+$") ~= nil
    and #value <= METHOD_BYTES_MAX
end

local function is_path(value)
  return type(value) == "string" and value:find("^/[\33\36-\59\61\63-\126]*$") ~= nil
    and #value <= PATH_BYTES_MAX
end

-- What is asked of each option, and whether a value is that.
local CHECKS = {
  path = { 'a path such as "/a?b=c", escaped where it has to be', is_path },
  method = { "a method", is_method },
  body = { "a string", function(value)
    return type(value) == "string"
  end },
  headers = { "a table of fields", function(value)
    return type(value) == "table"
  end },
  on_response = { "a function", function(value)
    return type(value) == "function"
  end },
  connect_timeout = { "seconds", is_seconds },
  retries = { "a count", function(value)
    return bytes.is_count(value, 0, RETRIES_MAX)
  end },
  hash_key = { "a string", function(value)
    return type(value) == "string"
  end },
}
CHECKS.response_headers = CHECKS.headers
CHECKS.read_timeout = CHECKS.connect_timeout

-- An error is the fault of the line that called req:forward(), which is a tail call of M.forward():
-- this is called by that. Gives a plain copy: what was checked is what is used.
local function check_options(opts)
  if type(opts) ~= "table" then
    error("req:forward: expected a table of options, got " .. type(opts), 3)
  end
  local given = {}
  for name, value in next, opts do
    local check = CHECKS[name]
    if not check then
      error("req:forward: unknown option '" .. tostring(name) .. "'", 3)
    elseif not check[2](value) then
      error(("req:forward: %s: expected %s, got %s"):format(name, check[1], tostring(value)), 3)
    end
    given[name] = value
  end
  return given
end

local function field_problem(name, value)
  if type(name) ~= "string" then
    return "expected names, got " .. type(name)
  elseif value ~= false and type(value) ~= "string" and type(value) ~= "number" then
    return ("%s: expected a string, or false to remove it, got %s"):format(name, type(value))
  end
  local text = value and tostring(value) or nil
  local rc = C.zerg_http_may_forward(name, #name, text, text and #text or 0)
  if rc == BAD_NAME then
    return ("%q cannot be set"):format(name)
  elseif rc == BAD_VALUE then
    return name .. " cannot have that value"
  end
  return nil
end

-- The fields as C takes them, their number, and the strings that they point to.
local function pack_fields(option, fields, level)
  local names, anchor = {}, {}
  for name, value in pairs(fields or {}) do
    local problem = field_problem(name, value)
    if problem then
      error(("req:forward: %s: %s"):format(option, problem), level)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  local packed = fields_t(#names)
  for index, name in ipairs(names) do
    local value = fields[name] and tostring(fields[name]) or nil
    anchor[index] = { name, value }
    packed[index - 1]._name, packed[index - 1]._value = name, value
  end
  return packed, #names, anchor
end

-- Options as C takes them, and what must live until it has taken them.
local function pack(opts, body)
  local options = options_t()
  local level = 4 -- of the script, seen from pack_fields()
  local fields, field_count, field_anchor = pack_fields("headers", opts.headers, level)
  local answer_fields, answer_count, answer_anchor =
    pack_fields("response_headers", opts.response_headers, level)
  body = opts.body or body
  options._path, options._path_len = opts.path, opts.path and #opts.path or 0
  options._method, options._method_len = opts.method, opts.method and #opts.method or 0
  options._body, options._body_len = body, body and #body or 0
  options._hash_key, options._hash_key_len = opts.hash_key, opts.hash_key and #opts.hash_key or 0
  options._fields, options._field_count = fields, field_count
  options._answer_fields, options._answer_field_count = answer_fields, answer_count
  options._connect_s = opts.connect_timeout or -1
  options._read_s = opts.read_timeout or -1
  options._retries = opts.retries or -1
  options._wants_head = opts.on_response and 1 or 0
  return options, { opts, body, fields, field_anchor, answer_fields, answer_anchor }
end

-- The answers to these are framed in ways of their own. Called as check_options().
local function check_method(self, opts)
  local is, becomes = self.method, opts.method or self.method
  if is ~= becomes and (FRAMED_APART[is] or FRAMED_APART[becomes]) then
    error(("req:forward: method: %s cannot be exchanged for %s"):format(is, becomes), 3)
  end
end

-- Parks. Whatever is raised then (a cancellation; that nothing can yield here) ends the forward.
local function wait()
  local ok, message = pcall(connect.wait)
  if not ok then
    C.zerg_pending_drop()
    error(message, 0)
  end
end

local M = {}

-- What the script wants changed. When on_response raises, the forward is over: who catches the
-- error answers itself.
local function ask(opts, status, headers)
  C.zerg_pending_shelve() -- it may connect, resolve or forward for itself
  local ok, changes = xpcall(opts.on_response, task.keep_traceback, status, headers)
  C.zerg_pending_unshelve()
  if not ok then
    C.zerg_pending_drop()
    task.raise_again(changes, task.traceback_of(changes))
  end
  return changes
end

local function pack_changes(changes)
  if type(changes) ~= "table" then
    error("req:forward: on_response: expected a table of fields or nil, got " .. type(changes), 0)
  end
  return pack_fields("on_response", changes, 0)
end

-- The head of the answer waits: shows it to the script. Gives the next result code.
local function show(self, http, opts)
  local headers = headers_t(http, self._generation, ANSWER)
  local changes = ask(opts, C.zerg_http_answer_status(http), headers)
  if changes == nil then
    return C.zerg_http_forward_go_on(nil, 0)
  end
  local ok, fields, count, anchor = pcall(pack_changes, changes)
  if not ok then
    C.zerg_pending_drop()
    error(fields, 3)
  end
  local rc = C.zerg_http_forward_go_on(fields, count)
  return anchor and rc -- until here it has to live
end

-- For a tail call, so that level 2 is the script.
local function fail(rc, target)
  if rc == SENT then
    error("req:forward: the answer was sent already", 2)
  elseif rc == BUSY or rc == FORWARDED then
    error("req:forward: another coroutine is reading or forwarding this request", 2)
  elseif rc == NO_TARGET then
    local shown = type(target) == "string" and ("%q"):format(target) or type(target)
    error("req:forward: expected " .. TARGET .. ", got " .. shown, 2)
  elseif rc == BROKEN then
    return nil, "body: a part of it was read or sent before"
  end
  return connect.fail("req:forward", rc, target)
end

---Forwards. Parks. For zerg.http_req.
---@param self zerg.req
---@param http ffi.cdata*
---@param target string
---@param opts? zerg.http.forward.options
---@param body string|nil what the script has read of it, all or nothing
---@return zerg.http.forward.result|nil
---@return string|nil reason
function M.forward(self, http, target, opts, body)
  opts = check_options(opts or {})
  if type(target) ~= "string" then
    return fail(NO_TARGET, target)
  end
  check_method(self, opts)
  local result = result_t()
  local options, anchor = pack(opts, body)
  local rc = C.zerg_http_forward(http, target, #target, options)
  while rc == PARK or rc == HEAD do
    if rc == HEAD then
      rc = show(self, http, opts)
    else
      wait()
      rc = C.zerg_http_forward_finish(result)
    end
  end
  if rc ~= OK or not anchor then -- which has to live until the call has been made
    return fail(rc, target)
  end
  return {
    status = result.status, server = ffi.string(result.server), bytes_up = result.bytes_up,
    bytes_down = result.bytes_down, duration = result.duration_s,
    reason = result.reason ~= nil and ffi.string(result.reason) or nil,
  }
end

return M
