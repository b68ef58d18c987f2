-- The zerg.lua that `zerg init` writes.

return [==[
-- zerg.lua: the configuration of zerg. It is Lua code that returns a table.
--
--   zerg check     says what is wrong with this file and the scripts it names, all at once
--   zerg run       serves it in the foreground
--
-- Everything but `listeners` may be left out; a line that is commented out shows the default.
-- Sizes are numbers or "64k", "1m"; times are seconds or "500ms", "2m".

return {
  -- reactors = 0,                  -- threads that serve connections; 0: one per CPU
  -- accept = "acceptor",           -- "reuseport": every reactor accepts for itself
  -- drain_timeout = 30,            -- how long handlers may finish after TERM or a reload
  -- watch = false,                 -- true: reload when this file or a script changes
  -- script_memory_max = "256m",    -- memory of the scripts of one reactor
  -- script_stall = 1,              -- report a handler that runs this long without waiting
  -- lua_path = "lib/?.lua",        -- where else require() looks; this directory comes first
  -- user = "www-data",             -- whom to become once the sockets are bound

  listeners = {
    -- A handler is the path of a Lua file that returns it (relative to this file) ...
    { port = 8080, handler = "handlers/hello.lua" },

    -- ... or a function. This one sends back what it gets.
    {
      address = "127.0.0.1",
      port = 7000,
      handler = function(conn)
        for data in conn:reads() do
          conn:write(data)
        end
      end,
      -- timeouts = { read = 0, write = 60, idle = 0 },  -- 0: none
      -- max_connections = 0,                            -- 0: as many as the reactors take
    },

    -- HTTP: the handler gets a request and the answer to it.
    -- { port = 8081, protocol = "http", handler = function(req, res) res:send("hello\n") end },

    -- In place of a handler, `forward` passes requests to an upstream, or to an address; without
    -- `protocol = "http"` it relays connections.
    -- { port = 8082, protocol = "http", forward = "app" },
  },

  -- upstreams = {
  --   app = { servers = { "127.0.0.1:3000", "127.0.0.1:3001" }, balance = "round_robin" },
  -- },

  -- log = { level = "info", file = "stderr", format = "text" },
}
]==]
