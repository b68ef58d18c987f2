-- The PROXY protocol header of a connection in the engine's model: given as a table of what
-- api.h's structs say (peer.proxied), its fields as a list of { type, value }.

local ffi = require("ffi")

local M = { api = {} }

local api = M.api

-- Values of api.h's enums.
local OK, END = 0, -1

-- Positions of the fields inside the SSL field, so that they are not taken for the others'.
local SSL_AT = 1000

M.conn_of = nil -- set by engine_conns.lua

local function proxied_of(handle)
  local conn = M.conn_of(handle)
  return conn and conn.proxied
end

function api.zerg_conn_proxy(handle, out)
  local proxied = proxied_of(handle)
  if not proxied then
    return END
  end
  for name, value in pairs(proxied.header) do
    out[name] = value
  end
  out._fields._at, out._fields._end = 0, #(proxied.fields or {})
  return OK
end

function api.zerg_conn_proxy_next(handle, rest, out)
  local proxied = proxied_of(handle)
  if not proxied or rest._at >= rest._end then
    return END
  end
  local is_inner = rest._at >= SSL_AT
  local fields = is_inner and proxied.ssl_fields or proxied.fields
  local field = fields[rest._at - (is_inner and SSL_AT or 0) + 1]
  proxied.anchor = ffi.new("uint8_t[?]", #field[2] + 1, field[2])
  out._type, out._value, out._len = field[1], proxied.anchor, #field[2]
  rest._at = rest._at + 1
  return OK
end

function api.zerg_conn_proxy_ssl(handle, out)
  local proxied = proxied_of(handle)
  if not proxied or not proxied.ssl then
    return END
  end
  for name, value in pairs(proxied.ssl) do
    out[name] = value
  end
  out._fields._at, out._fields._end = SSL_AT, SSL_AT + #proxied.ssl_fields
  return OK
end

return M
