-- The one place that declares C to LuaJIT: the text of src/script/api.h, and the little of libc
-- that the views need. The functions are found in the running program, so C is ffi.C and is what
-- modules cache (never single functions: only through the namespace does the compiler see a direct
-- call).

local ffi = require("ffi")

ffi.cdef(require("zerg.cdef"))
ffi.cdef([[
void *memmem(const void *haystack, size_t haystack_len, const void *needle, size_t needle_len);
struct zerg_readonly {
  uint32_t index; /* see readonly.lua */
};
/* What a handler of HTTP requests is given: valid while both generations are the same. */
struct zerg_req {
  struct zerg_http *_http;
  uint32_t _generation;
};
struct zerg_res {
  struct zerg_http *_http;
  uint32_t _generation;
};
struct zerg_headers {
  struct zerg_http *_http;
  uint32_t _generation;
  int _side; /* enum zerg_http_side */
};
]])

return {
  C = ffi.C,
  ffi = ffi,
  conn_t = ffi.typeof("struct zerg_conn"),
  headers_t = ffi.typeof("struct zerg_headers"),
  req_t = ffi.typeof("struct zerg_req"),
  res_t = ffi.typeof("struct zerg_res"),
  seq_t = ffi.typeof("struct zerg_seq"),
  task_t = ffi.typeof("struct zerg_task"),
  view_t = ffi.typeof("struct zerg_view"),
}
