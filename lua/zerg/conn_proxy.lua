-- conn.proxy: what a PROXY protocol header said, as a table. C walks through the header; here its
-- fields get their names. conn.lua keeps the table with the connection.

local zffi = require("zerg.ffi")

local M = {}

local C, ffi = zffi.C, zffi.ffi
local OK = C.ZERG_OK

-- Types that enum proxy_tlv_type and enum proxy_ssl_type of src/proto/proxy_tlv.h name, those with
-- text in them.
local NAMES = { [0x01] = "alpn", [0x02] = "authority", [0x05] = "unique_id", [0x30] = "netns" }
local SSL_NAMES = {
  [0x21] = "version",
  [0x22] = "cn",
  [0x23] = "cipher",
  [0x24] = "sig_alg",
  [0x25] = "key_alg",
}

---What a proxy said about a connection, before the client's first byte.
---@class zerg.conn.proxy
---@field version integer 1 or 2
---@field command string "proxy", or "local" when the proxy speaks for itself, as in its checks
---@field source_addr string|nil the client, nil where the header has no addresses
---@field source_port integer|nil
---@field destination_addr string|nil whom the client had connected to
---@field destination_port integer|nil
---@field peer_addr string who connected to us: the proxy
---@field peer_port integer
---@field crc32c boolean true when there was a checksum (a wrong one is refused)
---@field tlvs table<integer, string> by type, the first of each, as it came
---@field alpn string|nil protocol that the client and the proxy agreed on
---@field authority string|nil host name that the client asked for
---@field unique_id string|nil
---@field netns string|nil network namespace
---@field ssl zerg.conn.proxy.ssl|nil

---The client's TLS, as the proxy saw it.
---@class zerg.conn.proxy.ssl
---@field verify integer 0: the client's certificate is good
---@field client { tls: boolean, cert_conn: boolean, cert_sess: boolean }
---@field version string|nil "TLSv1.3"
---@field cn string|nil common name of the client's certificate
---@field cipher string|nil
---@field sig_alg string|nil of the proxy's certificate
---@field key_alg string|nil

-- The first field of each type.
local function read_fields(conn, rest)
  local field = ffi.new("struct zerg_proxy_field")
  local values = {}
  while C.zerg_conn_proxy_next(conn, rest, field) == OK do
    local kind = field._type
    values[kind] = values[kind] or ffi.string(field._value, field._len)
  end
  return values
end

local function name_fields(out, values, names)
  for kind, name in pairs(names) do
    out[name] = values[kind]
  end
end

local function read_ssl(conn)
  local ssl = ffi.new("struct zerg_proxy_ssl")
  if C.zerg_conn_proxy_ssl(conn, ssl) ~= OK then
    return nil
  end
  local out = {
    verify = ssl._verify,
    client = {
      tls = ssl._has_tls == 1,
      cert_conn = ssl._has_cert_conn == 1,
      cert_sess = ssl._has_cert_sess == 1,
    },
  }
  name_fields(out, read_fields(conn, ssl._fields), SSL_NAMES)
  return out
end

---The table for a connection that a header came in front of, nil for others.
---@param conn zerg.conn
---@return zerg.conn.proxy|nil
function M.read(conn)
  local header = ffi.new("struct zerg_proxy")
  if C.zerg_conn_proxy(conn, header) ~= OK then
    return nil
  end
  local proxy = {
    version = header._version,
    command = header._is_local == 1 and "local" or "proxy",
    peer_addr = ffi.string(header._peer_addr),
    peer_port = header._peer_port,
    crc32c = header._has_crc32c == 1,
    tlvs = read_fields(conn, header._fields),
    ssl = read_ssl(conn),
  }
  if header._has_addrs == 1 then
    proxy.source_addr = ffi.string(header._source_addr)
    proxy.source_port = header._source_port
    proxy.destination_addr = ffi.string(header._destination_addr)
    proxy.destination_port = header._destination_port
  end
  name_fields(proxy, proxy.tlvs, NAMES)
  return proxy
end

return M
