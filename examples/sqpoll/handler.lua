-- Answers each line with how many there have been and how it reached us. See zerg.lua beside this
-- file.

local zerg = require "zerg"

return function(conn)
  local mode = zerg.config.reactor.sqpoll and "sqpoll" or "plain"
  local reader = conn:reader()
  local count = 0
  while true do
    local line = reader:read_line(4096)
    if not line then
      return
    end
    count = count + 1
    conn:write(mode, " ", count, ": ", line, "\n")
  end
end
