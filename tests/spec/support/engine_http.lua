-- HTTP requests in the engine's model: made from a table of what a client sent, with the pieces of
-- the body that have come. What the handler answered is in `request.answer`.

local ffi = require("ffi")
local tasks = require("support.engine_tasks")

local M = { api = {} }

local api = M.api

-- Values of api.h's enums.
local OK, FULL, PARK, END, BROKEN, SENT, RANGE = 0, 2, 1, -1, -16, -17, -8
local BAD_NAME, BAD_VALUE = -18, -19
local PARTS = { [0] = "method_text", "target", "path", "query", "host", "content_type" }
local SET, REMOVE = 0, 2

local requests = {} -- by the address of their struct
local anchors = {} -- keeps alive what C would own

local function address(http)
  return tonumber(ffi.cast("intptr_t", ffi.cast("void *", http)))
end

local function of(http)
  return assert(requests[address(http)], "no such request")
end

---The request that this is of.
M.of = of

local function give(out, text)
  local bytes = ffi.new("uint8_t[?]", #text + 1, text)
  anchors[#anchors + 1] = bytes
  out._data, out._len = bytes, #text
  return OK
end

---@param sent table method (enum), minor, headers (a list of pairs), pieces, ends, failure, and
---parts by the names in PARTS
---@return table request its `pointer` and `generation` are for runtime.serve_http()
function M.request(sent)
  local http = ffi.new("struct zerg_http", { _generation = 7, _status = 200,
    _method = sent.method or 1, _minor = sent.minor or 1 })
  local request = { http = http, pointer = ffi.cast("void *", http), generation = 7, sent = sent,
    pieces = sent.pieces or {}, answer = { fields = {}, parts = {} } }
  requests[address(http)] = request
  return request
end

function api.zerg_http_part(http, part, out)
  local text = of(http).sent[PARTS[part]]
  return text and give(out, text) or END
end

local function fields_of(http, side)
  local sent = of(http).sent
  return ({ [0] = sent.headers or {}, sent.trailers, sent.answer_headers })[side]
end

function api.zerg_http_has(http, side)
  return fields_of(http, side) and OK or END
end

function api.zerg_http_find(http, side, name, len, from, value)
  local headers = fields_of(http, side) or {}
  for place = from, #headers - 1 do
    if headers[place + 1][1]:lower() == name:sub(1, len):lower() then
      give(value, headers[place + 1][2])
      return place
    end
  end
  return END
end

function api.zerg_http_field(http, side, place, name, value)
  local header = (fields_of(http, side) or {})[place + 1]
  if not header then
    return END
  end
  give(name, header[1])
  return give(value, header[2])
end

function api.zerg_http_chunk(http, max, view)
  local request = of(http)
  local piece = table.remove(request.pieces, 1)
  local taken = tonumber(http._taken) + (piece and #piece or 0)
  if request.failure or taken > max then
    request.failure = request.failure or "limit"
    return BROKEN
  elseif not piece and request.sent.ends ~= false then
    return END
  elseif not piece then
    return tasks.api.zerg_task_park(-1)
  end
  http._taken = taken
  local lease = ffi.new("struct zerg_lease", { generation = 1, len = #piece })
  anchors[#anchors + 1] = lease
  give(view, piece)
  lease.data = view._data
  view._lease, view._generation, view._kind = lease, 1, 1
  return OK
end

function api.zerg_http_timed_out(http)
  of(http).failure = "timeout"
end

---A string of C; nil: NULL.
function M.text(value)
  if not value then
    return nil
  end
  local text = ffi.new("char[?]", #value + 1, value)
  anchors[#anchors + 1] = text
  return ffi.cast("const char *", text)
end

function api.zerg_http_reason(http)
  return M.text(of(http).failure)
end

function api.zerg_http_set(http, mode, name, name_len, value, value_len)
  local answer = of(http).answer
  name, value = name:sub(1, name_len), value:sub(1, value_len)
  if http._has_begun ~= 0 then
    return SENT
  elseif not name:find("^[%w-]+$") then
    return BAD_NAME
  elseif value:find("[%z\r\n]") then
    return BAD_VALUE
  end
  local values = mode == SET and {} or answer.fields[name] or {}
  values[#values + 1] = value
  answer.fields[name] = mode ~= REMOVE and values or nil
  return OK
end

function api.zerg_http_say_json(http)
  of(http).answer.is_json = true
end

function api.zerg_http_send(http, body, len)
  local request = of(http)
  if http._has_begun ~= 0 then
    return SENT
  elseif request.gone then
    return END
  end
  http._has_begun, http._has_ended = 1, 1
  request.answer.status, request.answer.body = http._status, body:sub(1, len)
  return OK
end

function api.zerg_http_write(http, data, len)
  local request = of(http)
  if http._has_ended ~= 0 then
    return SENT
  elseif request.gone then
    return END
  end
  http._has_begun = 1
  local parts = request.answer.parts
  parts[#parts + 1] = data:sub(1, len)
  return request.full and FULL or OK
end

function api.zerg_http_finish(http)
  if http._has_ended ~= 0 then
    return SENT
  end
  http._has_begun, http._has_ended = 1, 1
  return of(http).falls_short and RANGE or OK
end

function api.zerg_http_wait_room(http)
  if not of(http).full then
    return OK
  end
  local rc = tasks.api.zerg_task_park(-1)
  return rc == OK and PARK or rc
end

function api.zerg_http_returned(http)
  local request = of(http)
  request.returned = true
  return request.falls_short and http._has_ended == 0 and RANGE or OK
end

function api.zerg_pair_next(pairs_left)
  if pairs_left._len == 0 then
    return END
  end
  local text = ffi.string(pairs_left._text, pairs_left._len)
  local pair = text:match("^[^&]*")
  local used = math.min(#pair + 1, #text)
  local name, value = pair:match("^([^=]*)=?(.*)$")
  pairs_left._text, pairs_left._len = pairs_left._text + used, #text - used
  give(pairs_left._name, name)
  return give(pairs_left._value, value)
end

function api.zerg_pair_decode(out, text, len)
  local decoded = ffi.string(text, len):gsub("+", " ")
  ffi.copy(out, decoded, #decoded)
  return #decoded
end

return M
