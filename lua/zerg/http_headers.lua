-- The headers of a request, its trailers, or the headers of a server's answer: a cdata that is
-- indexed by names, in any case. Written for the compiler, see conn_read.lua.

local bytes = require("zerg.bytes")
local zffi = require("zerg.ffi")

local C, ffi = zffi.C, zffi.ffi
local END = C.ZERG_END
local ffi_string = ffi.string

local text_t = ffi.typeof("struct zerg_text")
local name_out, value_out = text_t(), text_t()

---The fields in the head of a message. `headers[name]`, in any case: the value, several joined by
---", " (cookies by "; "), or nil. pairs() gives every name, in lower case, with one value, in the
---order they came.
---@class zerg.headers
local methods = {}

local function open(self)
  local http = self._http
  if http._generation ~= self._generation then
    error("headers used after its handler has ended", 3)
  end
  return http
end

local function join(http, side, name, value, place)
  local glue = name:lower() == "cookie" and "; " or ", "
  repeat
    value = value .. glue .. ffi_string(value_out._data, value_out._len)
    place = C.zerg_http_find(http, side, name, #name, place + 1, value_out)
  until place == END
  return value
end

local function get(http, side, name)
  local place = C.zerg_http_find(http, side, name, #name, 0, value_out)
  if place == END then
    return nil
  end
  local value = ffi_string(value_out._data, value_out._len)
  place = C.zerg_http_find(http, side, name, #name, place + 1, value_out)
  if place == END then
    return value
  end
  return join(http, side, name, value, place)
end

---Every value of that name, in the order they came; empty when there is none.
---@param name string
---@return string[]
function methods.all(self, name)
  if type(name) ~= "string" then
    return bytes.misuse("headers:all", "a name", name)
  end
  local http, side, values = open(self), self._side, {}
  local place = C.zerg_http_find(http, side, name, #name, 0, value_out)
  while place ~= END do
    values[#values + 1] = ffi_string(value_out._data, value_out._len)
    place = C.zerg_http_find(http, side, name, #name, place + 1, value_out)
  end
  return values
end

local metatable = { __name = "zerg.headers" }

function metatable.__index(self, name)
  local method = methods[name]
  if method then
    return method
  elseif type(name) ~= "string" then
    return nil
  end
  local http = open(self)
  return get(http, self._side, name)
end

function metatable.__newindex()
  error("headers of a message that came cannot be changed", 2)
end

function metatable.__len(self)
  local http, count = open(self), 0
  while C.zerg_http_field(http, self._side, count, name_out, value_out) ~= END do
    count = count + 1
  end
  return count
end

function metatable.__tostring(self)
  return ("zerg.headers: %d"):format(#self)
end

function metatable.__pairs(self)
  local place = -1
  return function()
    place = place + 1
    if C.zerg_http_field(open(self), self._side, place, name_out, value_out) == END then
      return nil
    end
    local name = ffi_string(name_out._data, name_out._len):lower()
    return name, ffi_string(value_out._data, value_out._len)
  end
end

ffi.metatype(zffi.headers_t, metatable)

return { methods = methods }
