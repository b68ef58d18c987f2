-- res: how a handler answers an HTTP request. What is written is staged in the connection's output
-- and leaves by itself when the coroutine parks or ends. Written for the compiler, see
-- conn_read.lua.

local bytes = require("zerg.bytes")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local CANCELED = park_module.CANCELED
local park = park_module.park
local istype = ffi.istype
local res_t, seq_t, view_t = zffi.res_t, zffi.seq_t, zffi.view_t
local OK, PARK, FULL, END = C.ZERG_OK, C.ZERG_PARK, C.ZERG_FULL, C.ZERG_END
local SENT, RANGE, NO_MEMORY = C.ZERG_SENT, C.ZERG_RANGE, C.ZERG_NO_MEMORY
local BAD_NAME, BAD_VALUE = C.ZERG_BAD_NAME, C.ZERG_BAD_VALUE
local FORWARDED = C.ZERG_FORWARDED
local NO_TASK, RESULT_CANCELED, EARLY = C.ZERG_NO_TASK, C.ZERG_CANCELED, C.ZERG_EARLY
local SET, ADD, REMOVE = C.ZERG_HTTP_SET, C.ZERG_HTTP_ADD, C.ZERG_HTTP_REMOVE
local WRITABLE = "a string, number, view or sequence"

---The answer to a request. Valid until the handler has ended.
---@class zerg.res
---@field sent boolean whether its head is on its way: nothing of it can be changed any more
local methods = {}

local function open(self)
  if not istype(res_t, self) then
    error("expected a res as self: call it with a colon", 3)
  end
  local http = self._http
  if http._generation ~= self._generation then
    error("res used after its handler has ended", 3)
  end
  return http
end

-- What a method does with a result that is neither OK nor FULL. For a tail call.
local function fail(http, method, rc)
  if rc == END then
    local reason = C.zerg_http_reason(http)
    return nil, reason ~= nil and ffi.string(reason) or "closed"
  elseif rc == NO_MEMORY then
    return nil, "limit: out of memory"
  elseif rc == RESULT_CANCELED then
    error(CANCELED, 0)
  elseif rc == SENT then
    error(method .. ": the answer was sent already", 2)
  elseif rc == FORWARDED then
    error(method .. ": the request is being forwarded", 2)
  elseif rc == NO_TASK then
    error(method .. ": cannot wait here, only a handler or a task can", 2)
  end
  error(method .. ": not as many bytes as Content-Length says", 2)
end

---Sets the status, 200 by default.
---@param code integer 200 to 599
---@return zerg.res res itself
function methods.status(self, code)
  local http = open(self)
  if not bytes.is_count(code, 200, 599) then
    return bytes.misuse("res:status", "a status from 200 to 599", code)
  elseif http._has_begun ~= 0 then
    error("res:status: the answer was sent already", 2)
  end
  http._status = code
  return self
end

local function field_problem(rc, name)
  if rc == SENT then
    return "the answer was sent already"
  elseif rc == FORWARDED then
    return "the request is being forwarded"
  elseif rc == BAD_NAME then
    return ("%q cannot be set"):format(name)
  elseif rc == BAD_VALUE then
    return name .. " cannot have that value"
  elseif rc == RANGE then
    return "more than 60 KiB of headers"
  end
  return "out of memory"
end

-- These give what is wrong, or nil.
local function set_one(http, mode, name, value)
  if type(name) ~= "string" then
    return "expected a name, got " .. type(name)
  end
  local text = value
  if type(value) == "number" then
    text = tostring(value)
  elseif type(value) ~= "string" then
    return ("%s: expected a string, got %s"):format(name, type(value))
  end
  local rc = C.zerg_http_set(http, mode, name, #name, text, #text)
  if rc ~= OK then
    return field_problem(rc, name)
  end
  return nil
end

local function set_list(http, name, values)
  local problem = set_one(http, REMOVE, name, "")
  for index = 1, #values do
    problem = problem or set_one(http, ADD, name, values[index])
  end
  return problem
end

local function set_field(http, name, value)
  if type(value) == "table" then
    return set_list(http, name, value)
  elseif value == false then
    return set_one(http, REMOVE, name, "")
  end
  return set_one(http, SET, name, value)
end

local function set_fields(http, fields)
  for name, value in pairs(fields) do
    local problem = set_field(http, name, value)
    if problem then
      return problem
    end
  end
  return nil
end

---Sets a header, in place of what it was; a list sets it several times, false removes it. A table
---of names and values sets several headers.
---@param name string|table<string, string|number|false|string[]>
---@param value? string|number|false|string[]
---@return zerg.res res itself
function methods.header(self, name, value)
  local http = open(self)
  local problem
  if type(name) == "table" then
    problem = set_fields(http, name)
  else
    problem = set_field(http, name, value)
  end
  if problem then
    error("res:header: " .. problem, 2)
  end
  return self
end

---Adds a field behind a body that is written in parts, once its head is on its way. It goes when
---the body ends, if that is in chunks; otherwise it is dropped.
---@param name string
---@param value string|number
---@return zerg.res res itself
function methods.trailer(self, name, value)
  local http = open(self)
  if type(name) ~= "string" then
    return bytes.misuse("res:trailer", "a name", name)
  elseif type(value) ~= "string" and type(value) ~= "number" then
    return bytes.misuse("res:trailer", "a string", value)
  end
  local text = tostring(value)
  local rc = C.zerg_http_trailer(http, name, #name, text, #text)
  if rc == EARLY then
    error("res:trailer: nothing was written yet", 2)
  elseif rc ~= OK then
    error("res:trailer: " .. field_problem(rc, name), 2)
  end
  return self
end

-- The value as a string; nil when it is none of those that can be written.
local function text_of(value)
  if type(value) == "string" then
    return value
  elseif type(value) == "number" or istype(view_t, value) or istype(seq_t, value) then
    return tostring(value)
  end
  return nil
end

---Sends the whole answer with this body, empty by default. Does not park.
---@param body? string|number|zerg.view|zerg.seq
---@return true|nil ok
---@return string|nil reason
function methods.send(self, body)
  local http = open(self)
  local text = body == nil and "" or text_of(body)
  if not text then
    return bytes.misuse("res:send", WRITABLE, body)
  end
  local rc = C.zerg_http_send(http, text, #text)
  if rc == OK or rc == FULL then
    return true
  end
  return fail(http, "res:send", rc)
end

local function wait_room(self, http, method)
  local rc = C.zerg_http_wait_room(http)
  if rc == OK then
    return self
  elseif rc == PARK then
    park()
    if http._generation ~= self._generation then
      return nil, "closed"
    end
    return wait_room(self, http, method)
  end
  return fail(http, method, rc)
end

local function write_all(self, ...)
  for index = 1, select("#", ...) do
    local ok, reason = methods.write(self, (select(index, ...)))
    if not ok then
      return nil, reason
    end
  end
  return self
end

---Sends a part of the body, and before the first part the head: in chunks, unless Content-Length
---was set (to a client of HTTP/1.0 the end of the connection is the body's). Parks only when more
---than write_buffer_max is staged.
---@param chunk string|number|zerg.view|zerg.seq
---@param ... string|number|zerg.view|zerg.seq further parts
---@return zerg.res|nil res itself
---@return string|nil reason
function methods.write(self, chunk, ...)
  local http = open(self)
  if select("#", ...) > 0 then
    return write_all(self, chunk, ...)
  end
  local text = text_of(chunk)
  if not text then
    return bytes.misuse("res:write", WRITABLE, chunk)
  end
  local rc = C.zerg_http_write(http, text, #text)
  if rc == OK then
    return self
  elseif rc == FULL then
    return wait_room(self, http, "res:write")
  end
  return fail(http, "res:write", rc)
end

---Ends a body that was written in parts; returning from the handler does so too. Parks only for a
---last part, as write().
---@param chunk? string|number|zerg.view|zerg.seq a last part
---@return true|nil ok
---@return string|nil reason
function methods.finish(self, chunk)
  local http = open(self)
  if chunk ~= nil then
    local ok, reason = methods.write(self, chunk)
    if not ok then
      return nil, reason
    end
  end
  local rc = C.zerg_http_finish(http)
  if rc == OK or rc == FULL then
    return true
  end
  return fail(http, "res:finish", rc)
end

---Sends a value as JSON, as application/json unless another Content-Type was set.
---@param value any
---@return true|nil ok
---@return string|nil reason
function methods.json(self, value)
  local http = open(self)
  local ok, text = pcall(require("zerg").json.encode, value)
  if not ok then
    error("res:json: " .. tostring(text), 2)
  end
  C.zerg_http_say_json(http)
  local rc = C.zerg_http_send(http, text, #text)
  if rc == OK or rc == FULL then
    return true
  end
  return fail(http, "res:json", rc)
end

---Sends the client elsewhere.
---@param url string
---@param code? integer 302 by default; 301, 303, 307 or 308
---@return true|nil ok
---@return string|nil reason
function methods.redirect(self, url, code)
  local http = open(self)
  code = code or 302
  if type(url) ~= "string" then
    return bytes.misuse("res:redirect", "a URL", url)
  elseif not bytes.is_count(code, 300, 399) then
    return bytes.misuse("res:redirect", "a status from 300 to 399", code)
  end
  local problem = set_one(http, SET, "Location", url)
  if problem then
    error("res:redirect: " .. problem, 2)
  end
  http._status = code
  local rc = C.zerg_http_send(http, "", 0)
  if rc == OK or rc == FULL then
    return true
  end
  return fail(http, "res:redirect", rc)
end

local metatable = { __name = "zerg.res" }

function metatable.__tostring(self)
  local http = self._http
  if http._generation ~= self._generation then
    return "zerg.res: ended"
  end
  return ("zerg.res: %d%s"):format(http._status, http._has_begun ~= 0 and ", sent" or "")
end

function metatable.__index(self, key)
  local method = methods[key]
  if method then
    return method
  elseif key == "sent" then
    return open(self)._has_begun ~= 0
  end
  error("res has no field '" .. tostring(key) .. "'", 2)
end

function metatable.__newindex(_, key)
  error("res." .. tostring(key) .. " cannot be set", 2)
end

ffi.metatype(zffi.res_t, metatable)

return { methods = methods }
