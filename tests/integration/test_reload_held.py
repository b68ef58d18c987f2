"""What a version still holds when another takes its place. The finalizers of that, zerg's and the scripts' own, run while
the old state is collected or when it is closed."""

import pytest

from peer import Backend, until
from reloads import reload, wait_for_versions

HOLD = """local zerg = require "zerg"
local ffi = require "ffi"
ffi.cdef "void *malloc(size_t size); void free(void *block);"
held = {}
local function finally(fn)
  local object = newproxy(true)
  getmetatable(object).__gc = fn
  return object
end
local function same(part) return part end
return function(conn)
  for part in conn:reads() do
    WHAT
    conn:write("ok\\n")
  end
end
"""

HELD = {
    "sequences": "held[#held + 1] = part:retain()",
    "connections": 'held[#held + 1] = assert(zerg.connect("PEER"))',
    "handles": "held[#held + 1] = conn",
    "filters": 'held[#held + 1] = conn conn:forward("PEER", { filter = { up = same, down = same } })',
    "cdata": "held[#held + 1] = ffi.gc(ffi.C.malloc(10), ffi.C.free)",
    "tasks": "held[#held + 1] = finally(function() zerg.spawn(function() end) end)",
    "closing": "held[#held + 1] = finally(function() conn:close() end)",
    "raising": 'held[#held + 1] = finally(function() error("not seen") end)',
}


@pytest.mark.parametrize("what", HELD)
def test_what_a_version_held_goes_with_it(zerg, control, what):
    backend = Backend()
    text = HOLD.replace("WHAT", HELD[what].replace("PEER", backend.target))
    server = zerg(files={"handler.lua": text}, drain_timeout=1)
    client = control(server)
    for number in range(2, 8):
        for peer in server.connect_many(4):
            peer.send("x")
            if what != "filters":
                assert peer.line() == "ok"
            peer.close()
        assert reload(server) == number
    wait_for_versions(client, 7)
    until(lambda: client.ask("status")[0]["reactors"][0]["connections"] == 0, "no connection")
    server.stop()
    backend.close()


SKIPS = """local zerg = require "zerg"
return {
  serve = function(conn, state)
    conn:write("WORD\\n")
    local reader = conn:reader()
    if not state then
      conn:write(tostring(pcall(zerg.deadline, 0.02, reader.skip, reader, 10)), "\\n")
    end
    reader:read_line()
  end,
  migrate = function() return "gone on" end,
}
"""


def test_a_skip_that_had_no_time_holds_nobody_up(zerg):
    server = zerg(files={"handler.lua": SKIPS.replace("WORD", "one")})
    peer = server.connect()
    assert peer.line() == "one"
    peer.line()
    server.directory.write("handler.lua", SKIPS.replace("WORD", "two"))
    reload(server)
    assert peer.line() == "two"


KEEPS = """local zerg = require "zerg"
return {
  serve = function(conn)
    conn:write("WORD\\n")
    local part = conn:read()
    if not part then return end
    local kept = part:retain()
    zerg.spawn(function() zerg.sleep(0.5) kept:release() end)
    conn:write("kept\\n")
    conn:read()
  end,
  migrate = function() return "gone on" end,
}
"""


def test_who_lets_go_of_a_part_later_goes_later(zerg):
    server = zerg(files={"handler.lua": KEEPS.replace("WORD", "one")})
    peer = server.connect()
    assert peer.line() == "one"
    assert peer.ask_line("part") == "kept"
    server.directory.write("handler.lua", KEEPS.replace("WORD", "two"))
    reload(server)
    assert peer.line() == "two"
