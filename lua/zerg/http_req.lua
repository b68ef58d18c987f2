-- req: what a handler sees of an HTTP request. Written for the compiler, see conn_read.lua.

local bytes = require("zerg.bytes")
local form = require("zerg.http_form")
local forwarding = require("zerg.http_forward")
local park_module = require("zerg.park")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local CANCELED = park_module.CANCELED
local park = park_module.park
local ffi_string = ffi.string
local istype = ffi.istype
local conn_t, headers_t, view_t = zffi.conn_t, zffi.headers_t, zffi.view_t
local req_t = zffi.req_t
local OK, PARK, END, BROKEN = C.ZERG_OK, C.ZERG_PARK, C.ZERG_END, C.ZERG_BROKEN
local BUSY, NO_TASK, RESULT_CANCELED = C.ZERG_BUSY, C.ZERG_NO_TASK, C.ZERG_CANCELED
local TIMEOUT = C.ZERG_WAKE_TIMEOUT
local REQUEST, TRAILERS = C.ZERG_HTTP_REQUEST, C.ZERG_HTTP_TRAILERS

-- In place of a reason: to be raised by the method that was called.
local IS_TAKEN = { "this request is being read or forwarded already" }
local CANNOT_WAIT = { "cannot wait here, only a handler or a task can" }

local text_out = ffi.new("struct zerg_text")
local METHODS = { [0] = false, "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS",
  "TRACE", "PATCH" } -- as enum http_method

---A request. Valid until its handler has ended.
---@class zerg.req
---@field method string "GET"
---@field target string as it came: "/a%20b?c=d"
---@field path string decoded, without dot segments: "/a b"
---@field query_string string|nil what follows the "?"
---@field query table<string, string|string[]> its pairs; a list where a name came more than once
---@field version string "1.1" or "1.0"
---@field headers zerg.headers
---@field trailers zerg.headers|nil fields behind the body, once all of that was read
---@field host string|nil from the target or Host, without the port
---@field scheme string "http"
---@field remote_addr string the client's address
---@field conn zerg.conn its connection, to be asked but neither read nor written
---@field ctx table the script's own, empty at first, gone with the request
---@field reason string|nil why there is no more of the body ("limit", "timeout", "closed", ...)
local methods = {}
local getters = {}

-- What is kept for a request that was asked for it: { ctx =, query =, conn =, body =, pieces = }.
local records = setmetatable({}, { __mode = "k" })

local function record_of(self)
  local record = records[self]
  if not record then
    record = {}
    records[self] = record
  end
  return record
end

-- An error is the fault of the line that called the caller.
local function open(self)
  if not istype(req_t, self) then
    error("expected a req as self: call it with a colon", 3)
  end
  local http = self._http
  if http._generation ~= self._generation then
    error("req used after its handler has ended", 3)
  end
  return http
end

local function part(http, which)
  if C.zerg_http_part(http, which, text_out) == END then
    return nil
  end
  return ffi_string(text_out._data, text_out._len)
end

function getters.method(http)
  return METHODS[http._method] or part(http, C.ZERG_HTTP_METHOD)
end

function getters.target(http)
  return part(http, C.ZERG_HTTP_TARGET)
end

function getters.path(http)
  return part(http, C.ZERG_HTTP_PATH)
end

function getters.query_string(http)
  return part(http, C.ZERG_HTTP_QUERY)
end

function getters.query(http, self)
  local record = record_of(self)
  if not record.query then
    record.query = form.parse(part(http, C.ZERG_HTTP_QUERY) or "")
  end
  return record.query
end

function getters.version(http)
  return http._minor == 0 and "1.0" or "1.1"
end

function getters.headers(_, self)
  return headers_t(self._http, self._generation, REQUEST)
end

function getters.trailers(http, self)
  if C.zerg_http_has(http, TRAILERS) == END then
    return nil
  end
  return headers_t(self._http, self._generation, TRAILERS)
end

function getters.host(http)
  return part(http, C.ZERG_HTTP_HOST)
end

function getters.scheme()
  return "http"
end

function getters.conn(http, self)
  local record = record_of(self)
  if not record.conn then
    record.conn = conn_t()
    C.zerg_http_conn(http, record.conn)
  end
  return record.conn
end

function getters.remote_addr(http, self)
  return getters.conn(http, self).remote_addr
end

function getters.ctx(_, self)
  local record = record_of(self)
  if not record.ctx then
    record.ctx = {}
  end
  return record.ctx
end

local function reason_of(http)
  local reason = C.zerg_http_reason(http)
  return reason ~= nil and ffi_string(reason) or nil
end

function getters.reason(http)
  return reason_of(http)
end

local next_chunk

local function next_parked(self, http, max, view)
  if park() == TIMEOUT then
    if http._generation == self._generation then
      C.zerg_http_timed_out(http)
    end
    return nil, "timeout"
  elseif http._generation ~= self._generation then
    return nil, "closed"
  end
  return next_chunk(self, http, max, view)
end

-- The next piece; nil at the end, with a reason where that is not the body's.
function next_chunk(self, http, max, view)
  local rc = C.zerg_http_chunk(http, max, view)
  if rc == OK then
    return view
  elseif rc == PARK then
    return next_parked(self, http, max, view)
  elseif rc == END then
    return nil
  elseif rc == BROKEN then
    return nil, reason_of(http) or "closed"
  elseif rc == RESULT_CANCELED then
    error(CANCELED, 0)
  elseif rc == BUSY then
    return nil, IS_TAKEN
  elseif rc == NO_TASK then
    return nil, CANNOT_WAIT
  end
  return nil, "limit: out of memory"
end

-- The whole body, or nil and a reason, which may be one of misuse. What has come stays in the
-- record: a call that is canceled meanwhile (zerg.deadline) loses nothing, the next one goes on.
local function read_body(self, http, max)
  local record = record_of(self)
  if record.body then
    return record.body
  end
  local pieces = record.pieces or { bytes = 0 }
  if http._taken ~= pieces.bytes then
    return nil, reason_of(http) or "body: a part of it was read before"
  end
  record.pieces = pieces
  local view = view_t()
  local more, reason = next_chunk(self, http, max, view)
  while more do
    local piece = tostring(view)
    pieces[#pieces + 1] = piece
    pieces.bytes = pieces.bytes + #piece
    more, reason = next_chunk(self, http, max, view)
  end
  if reason then
    return nil, reason
  end
  record.body, record.pieces = table.concat(pieces), nil
  return record.body
end

-- For a method that is called by the script.
local function check_reason(method, reason)
  if type(reason) == "table" then
    error(method .. ": " .. reason[1], 3)
  end
end

---The whole body, "" when there is none. Parks until it is there.
---@param max? integer bytes; never more than limits.body_bytes
---@return string|nil body
---@return string|nil reason "limit", "timeout", "malformed", why the connection ended, or
---"body: ..." when a part of it was read by chunks() or sent by forward() before
function methods.body(self, max)
  if max ~= nil and not bytes.is_count(max, 0) then
    return bytes.misuse("req:body", "a count of bytes", max)
  end
  local body, reason = read_body(self, open(self), max or math.huge)
  check_reason("req:body", reason)
  return body, reason
end

local function iterate(self)
  local http = self._http
  if http._generation ~= self._generation then
    return nil
  end
  local view, reason = next_chunk(self, http, math.huge, view_t())
  check_reason("req:chunks", reason)
  return view
end

---Iterates over the body as it comes, without a copy. Each view is valid until the next one. Ends
---early when there is no more to be had: req.reason says why. Each step may park.
---@return fun(req: zerg.req): zerg.view|nil
---@return zerg.req
function methods.chunks(self)
  open(self)
  return iterate, self
end

---The body, decoded from JSON. Parks until it is there.
---@return any value nil, and a reason, when it is none ("json: ...") or body() fails
---@return string|nil reason
function methods.json(self)
  local body, reason = read_body(self, open(self), math.huge)
  check_reason("req:json", reason)
  if not body then
    return nil, reason
  end
  local ok, value = pcall(require("zerg").json.decode, body)
  if not ok then
    return nil, "json: " .. tostring(value)
  end
  return value
end

---The pairs of a form (application/x-www-form-urlencoded). Parks until it is there.
---@return table<string, string|string[]>|nil form a list where a name came more than once
---@return string|nil reason "form: ..." when the body is of another type, or as body()
function methods.form(self)
  local http = open(self)
  local content_type = part(http, C.ZERG_HTTP_CONTENT_TYPE) or ""
  local media_type = content_type:lower():match("^[^;%s]*")
  if media_type ~= "application/x-www-form-urlencoded" then
    return nil, "form: the body is of type " .. (media_type ~= "" and media_type or "unknown")
  end
  local body, reason = read_body(self, http, math.huge)
  check_reason("req:form", reason)
  if not body then
    return nil, reason
  end
  return form.parse(body)
end

---Hands the request to a server and streams the answer to the client, in C. What was read by body()
---before goes as the body. Parks until the answer has been passed on.
---@param upstream string the name of an upstream, or a target
---@param opts? zerg.http.forward.options
---@return zerg.http.forward.result|nil result nil: no answer, and the client got nothing yet
---@return string|nil reason
function methods.forward(self, upstream, opts)
  local http = open(self)
  local record = records[self]
  return forwarding.forward(self, http, upstream, opts, record and record.body)
end

local metatable = { __name = "zerg.req" }

function metatable.__index(self, key)
  local method = methods[key]
  if method then
    return method
  end
  local getter = getters[key]
  if getter then
    local http = open(self)
    local value = getter(http, self)
    return value
  end
  error("req has no field '" .. tostring(key) .. "' (keep your own data in req.ctx)", 2)
end

function metatable.__newindex(self, key, value)
  if key ~= "ctx" then
    error("req." .. tostring(key) .. " cannot be set (keep your own data in req.ctx)", 2)
  elseif type(value) ~= "table" then
    error("req.ctx: expected a table, got " .. type(value), 2)
  end
  record_of(self).ctx = value
end

function metatable.__tostring(self)
  if self._http._generation ~= self._generation then
    return "zerg.req: ended"
  end
  return ("zerg.req: %s %s"):format(self.method, self.target)
end

ffi.metatype(zffi.req_t, metatable)

return { methods = methods, getters = getters }
