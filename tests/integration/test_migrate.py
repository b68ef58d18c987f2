"""Connections that go to the next version in the middle of a conversation, by `migrate`."""

import re
import signal

import pytest

from harness import REPOSITORY
from luatext import handler
from peer import SCALE, until
from reloads import reload, wait_for_versions

DOCS = (REPOSITORY / "docs" / "lua.md").read_text()
EXAMPLE = re.search(r"^## Live change\n.*?^```lua\n(.*?)^```", DOCS, re.M | re.S)[1]

# Says what it does, line by line. `words` of a line: what to do with it.
TALK = """local zerg = require "zerg"
local VERSION = "WORD"
local function answers(conn)
  local reader = conn:reader()
  while true do
    local line = reader:read_line()
    if not line then return end
    conn.ctx.count = (conn.ctx.count or 0) + 1
    conn:write(VERSION, " ", conn.ctx.count, " ", line, "\\n")
  end
end
return {
  serve = function(conn, state)
    if state then conn:write(VERSION, " got ", zerg.json.encode(state), "\\n") end
    conn:on_close(function() zerg.log.info("%s saw the end of %d", VERSION, conn.id) end)
    answers(conn)
  end,
  migrate = function(conn) MIGRATE end,
  stop = function() zerg.log.info("%s stops", VERSION) end,
}
"""


def talk(word, migrate="return { from = VERSION }"):
    return TALK.replace("WORD", word).replace("MIGRATE", migrate)


@pytest.fixture
def talking(zerg, quick_engine):
    def start(migrate="return { from = VERSION }", **options):
        return zerg(files={"handler.lua": talk("one", migrate)}, **options)
    return start


def renew(server, word, **kwargs):
    server.directory.write("handler.lua", talk(word, **kwargs))
    return reload(server)


@pytest.mark.threads
def test_the_documented_example(zerg, quick_engine, control):
    server = zerg(files={"handler.lua": EXAMPLE})
    client = control(server)
    peers = server.connect_many(6)
    for peer in peers:
        assert peer.send("abc").line() == "3"
    for number in range(2, 6):
        server.directory.write("handler.lua", EXAMPLE.replace('conn:write(state.seen, "\\n")',
                                                              f'conn:write("v{number} ", state.seen, "\\n")'))
        assert reload(server) == number
        rows = wait_for_versions(client, number)
        assert rows[0]["connections"] == 6
        for peer in peers:
            assert peer.send("abc").line() == f"v{number} {3 * number}"


@pytest.mark.threads
def test_state_and_ctx_go_along_and_half_a_line_stays(talking, control):
    server = talking()
    client = control(server)
    peers = server.connect_many(4)
    for peer in peers:
        assert peer.ask_line("a") == "one 1 a"
        peer.send("be")
    until(lambda: sum(row["connections"] for row in client.ask("status")[0]["versions"]) >= 4, "all are there")
    renew(server, "two")
    wait_for_versions(client, 2)
    server.log.wait("one stops")
    for peer in peers:
        assert peer.line() == 'two got {"from":"one"}'
        assert peer.send("gin\nc\n").line() == "two 2 begin"
        assert peer.line() == "two 3 c"
        peer.close()
    until(lambda: len(server.log.find("two saw the end")) == 4, "on_close of the version that has it")
    assert not server.log.find("one saw the end")


def test_what_is_not_plain_is_not_carried(talking):
    server = talking("conn.ctx.more = print return nil")
    peer = server.connect()
    assert peer.ask_line("a") == "one 1 a"
    renew(server, "two")
    assert peer.ask_line("b") == "two 1 b"


@pytest.mark.parametrize("migrate, message", [
    ("error('cannot go')", "cannot go"),
    ("error({})", "an error that is a table"),
    ("return { f = print }", "state.f is a function"),
    ("return setmetatable({}, {})", "a table with a metatable"),
    ("local t = 1 for _ = 1, 22 do t = { t, t } end return t", "state has more than 100000 items"),
    ("return { ('x'):rep(2^24), 'x' }", "state has more than 16777216 bytes in strings"),
    ("zerg.sleep(1)", "handler.lua:18"),
    ("conn:read()", "handler.lua:18"),
])
def test_one_that_cannot_go_stays_and_is_not_asked_again(talking, control, migrate, message):
    server = talking(migrate)
    client = control(server)
    peer = server.connect()
    assert peer.ask_line("a") == "one 1 a"
    renew(server, "two")
    text = server.log.expect(r"conn \d+ from .* on listener .* stays with version 1: ")
    assert message in text
    for number in range(2, 20):
        assert peer.ask_line("b") == f"one {number} b"
    renew(server, "three")
    assert peer.ask_line("b") == "one 20 b"
    assert server.connect().ask_line("a") == "three 1 a"
    peer.close()
    wait_for_versions(client, 3)
    server.log.wait("one saw the end")


@pytest.mark.parametrize("migrate", ["return { ('x'):rep(6 * 2^20) }", "conn.ctx.text = ('x'):rep(15 * 2^20) return 1"])
def test_one_that_the_next_version_has_no_memory_for_stays(talking, control, migrate):
    server = talking(migrate)
    client = control(server)
    peer = server.connect()
    assert peer.ask_line("a") == "one 1 a"
    server.configure(script_memory_max="3m")
    renew(server, "two")
    server.log.expect(r"stays with version 1: the next one cannot take it over: not enough memory")
    for number in range(2, 20):
        assert peer.ask_line("b") == f"one {number} b"
    assert server.connect().ask_line("a") == "two 1 a"
    peer.close()
    wait_for_versions(client, 2)
    server.log.wait("one saw the end")


@pytest.mark.parametrize("jit", ["", "jit.off() "], ids=["compiled", "interpreted"])
def test_one_that_computes_for_long_is_named(zerg, jit):
    """`migrate` runs outside of any task, and is watched as what runs in one."""
    zerg.jit = jit
    loop = "local stop, n = os.clock() + 1, 0\nwhile os.clock() < stop do for i = 1, 1e5 do n = i * 7 % 13 end end"
    server = zerg(files={"handler.lua": talk("one", loop)}, script_stall="100ms")
    peer = server.connect()
    assert peer.ask_line("a") == "one 1 a"
    renew(server, "two")
    server.log.expect(r"handler\.lua:19", timeout=2 * SCALE)
    assert peer.ask_line("b") == "two 2 b"


def test_one_that_declines_is_asked_again(talking, control):
    server = talking("if conn.ctx.count < 3 then return nil, 'not yet' end return conn.ctx.count")
    client = control(server)
    peer = server.connect()
    assert peer.ask_line("a") == "one 1 a"
    renew(server, "two")
    assert peer.ask_line("b") == "one 2 b"
    assert peer.ask_line("c") == "one 3 c"
    assert peer.line() == "two got 3"
    assert peer.ask_line("d") == "two 4 d"
    wait_for_versions(client, 2)


def test_one_that_declines_goes_to_the_newest(talking):
    server = talking("if conn.ctx.count < 2 then return nil, 'not yet' end return 'state'")
    peer = server.connect()
    assert peer.ask_line("a") == "one 1 a"
    for word in ("two", "three", "four"):
        renew(server, word)
    assert peer.ask_line("b") == "one 2 b"
    assert peer.line() == 'four got "state"'


def test_migrate_may_write_and_may_close(talking):
    server = talking("conn:write('bye\\n') if conn.ctx.count == 2 then conn:close() end return 1")
    goes, ends = server.connect_many(2)
    assert goes.ask_line("a") == "one 1 a"
    ends.send("a\nb\n")
    assert [ends.line(), ends.line()] == ["one 1 a", "one 2 b"]
    renew(server, "two")
    assert [goes.line(), goes.line()] == ["bye", "two got 1"]
    ends.expect("bye\n").expect_end()


def test_output_that_waits_goes_along(talking, control):
    """The peer reads nothing at first: what the versions wrote comes in order, with nothing lost."""
    writes = f"conn:write(('x'):rep({6 << 20}), '\\n') return VERSION"
    server = talking(writes, listeners=[{"address": "127.0.0.1", "write_buffer_max": "64m"}])
    client = control(server)
    peer = server.connect(receive_buffer=16384)
    assert peer.ask_line("a") == "one 1 a"
    for number, word in enumerate(("two", "three"), 2):
        renew(server, word, migrate=writes)
        wait_for_versions(client, number)
    for line in ('two got "one"', 'three got "two"'):
        peer.expect(b"x" * (6 << 20) + b"\n")
        assert peer.line() == line
    assert peer.ask_line("b") == "three 2 b"


def test_a_removed_handler_keeps_its_connections(talking, control):
    server = talking()
    client = control(server)
    peer = server.connect()
    assert peer.ask_line("a") == "one 1 a"
    server.directory.write("handler.lua", handler('conn:write("plain\\n")'))
    row = {**server.rows[0], "protocol": "http"}
    server.configure(listeners=[row])
    reload(server)
    assert peer.ask_line("b") == "one 2 b"
    peer.close()
    wait_for_versions(client, 2)


CHAT = """local zerg = require "zerg"
local members = {}
local function tell(text)
  for id, conn in pairs(members) do
    if not conn:write(text) then members[id] = nil end
  end
end
return {
  serve = function(conn)
    members[conn.id] = conn
    local reader = conn:reader()
    conn:on_close(function() members[conn.id] = nil end)
    if not conn.ctx.welcomed then conn.ctx.welcomed = true conn:write("welcome\\n") end
    while true do
      local line = reader:read_line()
      if not line then break end
      tell(line .. "\\n")
    end
  end,
  migrate = function() return { "VERSION" } end,
}
"""


def test_a_chat_over_five_versions(zerg, control):
    """Every message arrives once at everybody, in the order of its sender, while versions come."""
    server = zerg(files={"handler.lua": CHAT})
    client = control(server)
    peers = server.connect_many(8)
    for peer in peers:
        assert peer.line() == "welcome"
    count = 0
    for version in range(2, 7):
        for peer in peers:
            peer.send(f"{version} {count}\n{version} ")  # half of one is unread at the reload
            count += 1
        server.directory.write("handler.lua", CHAT.replace("VERSION", str(version)))
        assert reload(server) == version
        for peer in peers:
            peer.send(f"{count}\n")
            count += 1
    texts = [[peer.line() for _ in range(count)] for peer in peers]
    assert all(sorted(text) == sorted(texts[0]) for text in texts)
    assert len(set(texts[0])) == count
    for number in range(count):
        assert any(line.endswith(f" {number}") for line in texts[0])
    for text in texts:  # of one sender
        for sender in range(8):
            mine = [int(line.split()[1]) for line in text if int(line.split()[1]) % 8 == sender]
            assert mine == sorted(mine)
    wait_for_versions(client, 6)


OLD = """local zerg = require "zerg"
local conns = {}
return {
  start = function()
    zerg.every(0.01, function() zerg.log.info("WORD ticks %s %s", zerg.reloading(), zerg.draining()) end)
    zerg.spawn(function()
      while true do
        zerg.sleep(0.01)
        for _, conn in ipairs(conns) do
          local ok, reason = conn:write("")
          if not ok then zerg.log.info("WORD lost it: %s %s", reason, tostring(conn.reason)) conns = {} end
        end
      end
    end)
  end,
  serve = function(conn)
    conns[#conns + 1] = conn
    for data in conn:reads() do
      conn.ctx.stays = data == "stay"
      conn:write("WORD ", tostring(zerg.reloading()), " ", tostring(zerg.draining()), "\\n")
    end
  end,
  migrate = MIGRATE,
}
"""


def old(word, migrate="nil"):
    return OLD.replace("WORD", word).replace("MIGRATE", migrate)


def test_tasks_and_timers_go_on_until_their_version_ends(zerg, control):
    server = zerg(files={"handler.lua": old("one")}, drain_timeout=30)
    client = control(server)
    peer = server.connect()
    assert peer.send("x").line() == "one false false"
    server.directory.write("handler.lua", old("two"))
    reload(server)
    assert peer.send("x").line() == "one true false"
    server.log.wait("one ticks true false")
    assert server.connect().send("x").line() == "two false false"
    peer.close()
    wait_for_versions(client, 2)
    ticks = len(server.log.find("one ticks"))
    server.log.wait("two ticks false false")
    seen = len(server.log.find("two ticks"))
    until(lambda: len(server.log.find("two ticks")) > seen + 3, "the new one's go on")
    assert len(server.log.find("one ticks")) == ticks


DECLINES = "function(conn) if conn.ctx.stays then return nil, 'it stays' end end"


def test_a_handle_of_a_connection_that_went_is_of_no_use(zerg):
    server = zerg(files={"handler.lua": old("one", DECLINES)}, drain_timeout=30)
    stays, goes = server.connect_many(2)
    assert stays.send("x").line() == "one false false"
    stays.send(stays_word := "stay")
    assert stays.line() == "one false false"
    assert goes.send("x").line() == "one false false"
    server.directory.write("handler.lua", old("two", "function() end"))
    reload(server)
    assert goes.send("x").line() == "two false false"
    assert stays.send(stays_word).line() == "one true false"
    server.log.wait("one lost it: migrated migrated")
    assert goes.send("x").line() == "two false false"


def test_draining_is_seen_by_both_versions(zerg):
    server = zerg(files={"handler.lua": old("one")}, drain_timeout=30)
    before = server.connect()
    assert before.send("x").line() == "one false false"
    server.directory.write("handler.lua", old("two"))
    reload(server)
    after = server.connect()
    assert after.send("x").line() == "two false false"
    server.send_signal(signal.SIGTERM)
    server.log.wait("TERM: no more connections")
    assert before.send("x").line() == "one true true"
    assert after.send("x").line() == "two false true"
    before.close()
    after.close()
    assert server.wait_exit() == 0
