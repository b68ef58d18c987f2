-- Runs the handler of one HTTP request: makes req and res, and ends the answer when the handler
-- returns. Both are cdata that point to what C knows of the request, so making them costs next to
-- nothing, and one that outlived its request is found out by its generation.

local zffi = require("zerg.ffi")
-- These only set the metatables of their types.
require("zerg.http_headers")
require("zerg.http_req")
require("zerg.http_res")

local M = {}

local C = zffi.C
local cast = zffi.ffi.cast
local http_t = zffi.ffi.typeof("struct zerg_http *")
local req_t, res_t = zffi.req_t, zffi.res_t
local RANGE, SENT, BUSY, NO_MEMORY = C.ZERG_RANGE, C.ZERG_SENT, C.ZERG_BUSY, C.ZERG_NO_MEMORY
local CONNECT = C.ZERG_HTTP_CONNECT

local function refuse_connect(req)
  C.zerg_http_refuse_connect(req._http)
end

---@alias zerg.serve_http fun(req: zerg.req, res: zerg.res): string|nil

---Runs `handler`. A string that it returns is the body; without any answer it is an empty one.
---For zerg.runtime.
---@param handler zerg.serve_http
---@param connect? zerg.serve_http in its place, for CONNECT; without one that is refused
---@param address integer as a number, since a light userdata stops the compiler
---@param generation integer
function M.serve(handler, connect, address, generation)
  local http = cast(http_t, address)
  if http._method == CONNECT then
    handler = connect or refuse_connect
  end
  local res = res_t(http, generation)
  local body = handler(req_t(http, generation), res)
  if http._generation ~= generation then -- the client speaks another protocol now
    return
  end
  if type(body) == "string" then
    local rc = C.zerg_http_send(http, body, #body)
    if rc == SENT then
      error("the handler returned a body, but it had answered already", 0)
    elseif rc == NO_MEMORY then
      error("out of memory for the body that the handler returned", 0)
    end
  end
  local rc = C.zerg_http_returned(http)
  if rc == RANGE then
    error("the handler wrote less than its Content-Length", 0)
  elseif rc == BUSY then
    error("the handler has returned while another task was forwarding its request", 0)
  end
end

return M
