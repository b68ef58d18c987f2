"""Reloads that fail, and ends that come in the middle of one: the version before goes on as if nothing had been, and
the next good one works."""

import re
import signal
import time

import pytest

from peer import Backend, dial, until
from reloads import hup, outcomes, reload, reload_fails, versions, wait_for_versions
from test_reload import SAY, said, say

HELLO = 'conn:write("{}\\n")'


def hooks(top="", **functions):
    """A handler file with hooks of these statements. What serves says "new"."""
    rows = "".join(f"  {name} = function(conn) {body} end,\n" for name, body in functions.items())
    return (f'local zerg = require "zerg" {top}\nreturn {{\n{rows}'
            '  serve = function(conn) conn:write("new\\n") end,\n}\n')


SCRIPTS = {
    "syntax": ("return function(conn\n  conn:close(\nend\n", "handler.lua:2:"),
    "top_level_raises": ("local x = nil\n\nx.y = 1\nreturn function() end\n", "handler.lua:3:"),
    "returns_nothing": ("local x = 1\n", "handler.lua"),
    "raises_a_table": ('local x = 1\nerror({ code = 3 })\n', "handler.lua:2: an error that is a table (code = 3)"),
    "unknown_hook": ("return { serve = function() end, startt = function() end }\n", "did you mean `start`"),
    "missing_module": ('require "nowhere"\nreturn function() end\n', "nowhere"),
    "test_raises": (hooks(test='error("two and two are five")'), "two and two are five"),
    "test_returns_false": (hooks(test='return false, "bad"'), "handler.lua:3: self-test failed: bad"),
    "test_parks": (hooks(test="zerg.sleep(1)"), "handler.lua:3"),
    "top_level_parks": ('require("zerg").sleep(1)\nreturn function() end\n', "handler.lua:1"),
    "top_level_connects": ('assert(require("zerg").connect("127.0.0.1:1"))\nreturn function() end\n', "handler.lua:1"),
    "start_raises": (hooks(start='error("no start")'), "handler.lua:3: no start (in its `start` hook)"),
    "start_raises_no_place": (hooks(start='error("no start", 0)'), "handler.lua: no start (in its `start` hook)"),
    "start_calls_what_raises": (hooks(top='local function f() error("no start") end', start="f()"),
                                "handler.lua:1: no start (in its `start` hook)"),
    "start_parks_then_raises": (hooks(start='zerg.sleep(0.02) error("no start")'),
                                "handler.lua:3: no start (in its `start` hook)"),
    "start_yields": (hooks(start="coroutine.yield()"), "a `start` hook failed; the log has its traceback"),
    "start_raises_on_one_reactor": (hooks(start='if zerg.reactor == 1 then error("no start") end'),
                                    "handler.lua:3: no start (in its `start` hook)"),
}


@pytest.mark.threads
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_cannot_be_served(zerg, control, name):
    text, message = SCRIPTS[name]
    server = zerg(HELLO.format("old"), reactors=2)
    client = control(server)
    assert said(server) == "old"
    server.directory.write("handler.lua", text)
    if name.startswith("start_"):
        server.log.allow("no start|attempt to yield")
    problem = reload_fails(server, message)
    assert "cannot load" not in problem and "lua/zerg/" not in problem
    descriptors = server.descriptors()
    for _ in range(3):
        reload_fails(server, message)
    wait_for_versions(client, 1)
    until(lambda: server.descriptors() == descriptors, "as many descriptors as before")
    assert {said(server) for _ in range(4)} == {"old"}
    server.directory.write("handler.lua", hooks(start="zerg.sleep(0.01)", test="assert(1 + 1 == 2)"))
    reload(server)
    assert {said(server) for _ in range(4)} == {"new"}


def test_what_a_script_raises_begins_with_its_place_and_shows_its_own_calls(zerg):
    server = zerg(HELLO.format("old"))
    assert said(server) == "old"
    server.directory.write("calls.lua", "local function f() error('no') end\nf()\n")
    server.directory.write("handler.lua", 'require "calls"\nreturn function() end\n')
    problem = re.sub(r"[^\s']*/", "", reload_fails(server, "calls.lua:1: no"))
    frames = ["calls.lua:1: in function 'f'", "calls.lua:2: in main chunk", "[C]: in function 'require'",
              "handler.lua:1: in main chunk"]
    lines = [line.strip() for line in problem.splitlines()]
    assert lines[:6] == ["calls.lua:1: no", "stack traceback:", *frames]


def test_a_self_test_that_a_module_has(zerg):
    server = zerg(HELLO.format("old"))
    assert said(server) == "old"
    server.directory.write("sums.lua", 'return {\n  test = function() error("two and two are five") end,\n}\n')
    server.directory.write("handler.lua", 'return { serve = print, test = require("sums").test }\n')
    reload_fails(server, "sums.lua:2: self-test failed: two and two are five")


def test_a_start_hook_that_uses_up_the_memory_of_its_scripts(zerg):
    server = zerg(HELLO.format("old"), script_memory_max="8m")
    assert said(server) == "old"
    server.log.allow("not enough memory")
    hook = 'local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end'
    server.directory.write("handler.lua", hooks(start=hook))
    reload_fails(server, "handler.lua: not enough memory (in its `start` hook)")
    assert said(server) == "old"


CONFIGURATIONS = {
    "syntax": ("return {\n  listeners = {\n", "zerg.lua:"),
    "raises": ('return {\n  reactors = error("no")\n}\n', "zerg.lua:2"),
    "unknown_key": ('return {\n  reactorz = 1,\n  listeners = { { port = 1, handler = "handler.lua" } },\n}\n',
                    "zerg.lua:2: reactorz"),
    "no_listener": ("return {}\n", "listeners"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_that_is_wrong(zerg, name):
    text, message = CONFIGURATIONS[name]
    server = zerg(HELLO.format("old"))
    before = (server.path / "zerg.lua").read_text()
    assert said(server) == "old"
    server.directory.write("zerg.lua", text)
    reload_fails(server, message)
    assert said(server) == "old"
    server.directory.write("zerg.lua", before)
    server.directory.write("handler.lua", say("new"))
    assert reload(server) == 2
    assert said(server) == "new"


@pytest.mark.threads
def test_a_port_that_is_in_use(zerg, control, behind, quick_engine):
    other = behind(Backend)
    server = zerg(SAY.format("old"))
    client = control(server)
    stays = server.connect()
    assert stays.line() == "old"
    wait_for_versions(client, 1)  # it has taken both
    rows, descriptors = server.rows, server.descriptors()
    server.configure(listeners=[*rows, {"address": "127.0.0.1"}, {"address": "127.0.0.1", "port": other.port}])
    free = server.targets[1]
    reload_fails(server, f"cannot listen on 127.0.0.1:{other.port}")
    wait_for_versions(client, 1)
    assert server.descriptors() == descriptors
    with pytest.raises(ConnectionRefusedError):  # the one before it was let go too
        dial(free)
    server.configure(listeners=[*rows, {"address": "127.0.0.1", "port": free[1]}])
    reload(server)
    assert said(server, 1) == "old"


@pytest.mark.parametrize("before, after", [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")])
def test_an_address_that_overlaps_one_of_the_server_s_own(zerg, before, after):
    server = zerg(SAY.format("old"), listeners=[{"address": before}])
    stays = server.connect().expect("old\n")
    row = {**server.rows[0], "address": after}
    server.configure(listeners=[row])
    reload_fails(server, f"this server itself listens on {before}:{row['port']}", "reload twice")
    server.configure(listeners=[{"address": "127.0.0.1"}])
    reload(server)
    server.configure(listeners=[row])
    reload(server)
    assert said(server) == "old"
    stays.expect_silence(0)


def test_two_listeners_that_overlap(zerg):
    server = zerg(SAY.format("old")).wait_listening()
    server.configure(listeners=[*server.rows, {**server.rows[0], "address": "0.0.0.0"}])
    problem = reload_fails(server, f"another listener is on 127.0.0.1:{server.rows[0]['port']}", "choose another port")
    assert "itself" not in problem
    assert said(server) == "old"


@pytest.mark.threads
@pytest.mark.parametrize("change, name", [
    ({"reactors": 3}, "reactors"),
    ({"accept": "reuseport"}, "accept"),
    ({"reactor": {"ring_entries": 2048}}, "reactor.ring_entries"),
    ({"reactor": {"max_connections": 77}}, "reactor.max_connections"),
    ({"user": "root"}, "user"),
])
def test_what_only_a_restart_can_change_is_refused_by_name(zerg, change, name):
    server = zerg(HELLO.format("old"), reactors=2)
    server.log.allow("root")
    assert said(server) == "old"
    server.directory.write("handler.lua", say("new"))
    listeners = [*server.rows, {"address": "127.0.0.1"}]
    server.configure(listeners=listeners, **change)
    new = server.targets.pop()
    reload_fails(server, f"only a restart can change {name}")
    assert said(server) == "old"
    server.targets.append(new)
    server.configure(listeners=listeners)
    reload(server)
    assert said(server, 1) == "new"


# ---- several at once, and ends in the middle ----


@pytest.mark.threads
def test_many_reloads_at_once_become_few(zerg, control):
    server = zerg(HELLO.format("old"), reactors=2)
    client = control(server)
    assert said(server) == "old"
    server.directory.write("handler.lua", hooks(start="zerg.sleep(0.1)"))
    for _ in range(50):
        hup(server)
        time.sleep(0.002)
    until(lambda: outcomes(server), "a reload ends")
    server.directory.write("handler.lua", hooks().replace("new", "newest"))
    reload(server)
    until(lambda: said(server) == "newest", "the last one is served")
    server.log.allow("goes on: the server is shutting down")  # a last one may be on its way at the end
    assert len(outcomes(server)) <= 6, outcomes(server)
    until(lambda: [row["number"] for row in versions(client)] == [outcomes(server)[-1][0]], "only the last is left")


def test_a_reload_while_the_server_drains_is_refused(zerg):
    server = zerg('conn:write("x") conn:wait() conn:write("y")', drain_timeout=20)
    peer = server.connect().expect("x")
    server.send_signal(signal.SIGTERM)
    server.log.wait("TERM: no more connections")
    hup(server)
    server.log.expect("reload: the server is shutting down")
    peer.send("go on").expect("y").expect_end()
    peer.close()
    assert server.wait_exit() == 0
    assert not [problem for _, problem in outcomes(server) if problem is None]


@pytest.mark.threads
@pytest.mark.parametrize("reactors", [1, 2])
def test_term_while_a_start_hook_waits(zerg, reactors):
    server = zerg(HELLO.format("old"), reactors=reactors)
    assert said(server) == "old"
    server.directory.write("handler.lua", hooks(start='zerg.log.info("starting") zerg.sleep(60)'))
    hup(server)
    server.log.wait("starting")
    server.process.send_signal(signal.SIGTERM)
    assert server.wait_exit(within=5) == 0
    server.log.expect("reload: version 1 goes on: the server is shutting down")


BUSY = """local zerg = require "zerg"
zerg.log.info("busy now")
local begin = os.clock()
while os.clock() - begin < {} do end
return function() end
"""


@pytest.mark.threads
@pytest.mark.parametrize("reactors", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_while_scripts_are_loaded(zerg, number, reactors):
    server = zerg(HELLO.format("old"), reactors=reactors)
    assert said(server) == "old"
    server.directory.write("handler.lua", BUSY.format(0.2))
    hup(server)
    server.log.wait("busy now")
    server.process.send_signal(number)
    assert server.wait_exit(within=8) == 0
    server.log.expect("reload: version 1 goes on: the server is shutting down")


def test_a_script_that_loads_for_ever_does_not_hold_up_the_end(zerg):
    server = zerg(HELLO.format("old"))
    assert said(server) == "old"
    server.directory.write("handler.lua", BUSY.format(1e9))
    hup(server)
    server.log.wait("busy now")
    assert said(server) == "old"  # nobody else notices
    server.process.send_signal(signal.SIGTERM)
    assert server.wait_exit(within=12) == 1
    server.log.expect("a script that is being loaded did not stop within")
    server.check_at_end = False


def test_a_handler_that_holds_a_reactor_only_delays_the_reload(zerg):
    server = zerg("""
        conn:write("busy\\n")
        conn:flush()
        local begin = os.clock()
        while os.clock() - begin < 0.2 do end
        conn:write("done\\n")
    """)
    server.log.allow("is held by a handler")  # when it has to share its processor
    peer = server.connect()
    assert peer.line() == "busy"
    server.directory.write("handler.lua", say("new"))
    assert reload(server) == 2
    assert peer.line() == "done"
    until(lambda: said(server) == "new", "the new version serves")


HELD = """
    conn:write("busy\\n")
    conn:flush()
    local begin = os.time()
    while os.time() - begin < {} do end
    conn:write("done\\n")
"""


def test_a_handler_that_holds_a_reactor_for_long_fails_the_reload(zerg, control):
    server = zerg(HELD.format(8), script_stall=0)
    client = control(server)
    peer = server.connect()
    assert peer.line() == "busy"
    server.directory.write("handler.lua", say("new"))
    answer, _ = client.ask("reload")
    assert answer["ok"] is False and "reactor 0 is held by a script that does not park" in answer["error"]
    server.log.expect("reload: version 1 goes on: reactor 0 is held")
    assert client.ask("check")[0]["ok"] is True
    assert peer.line() == "done"
    wait_for_versions(client, 1)  # what was dropped goes when the reactor turns
    assert reload(server) == 3  # and its number with it
    until(lambda: said(server) == "new", "the next one works")


def test_an_upgrade_gets_a_server_out_of_a_handler_that_never_parks(zerg, control, family):
    server = zerg(HELD.format(1e9), script_stall=0, drain_timeout=1)
    server.log.allow("did not stop within|reload: version 1 goes on: reactor 0 is held")
    server.check_at_end = False
    client = control(server)
    peer = server.connect()
    assert peer.line() == "busy"
    server.directory.write("handler.lua", say("new"))
    assert client.ask("reload")[0]["ok"] is False
    assert client.ask("upgrade")[0]["ok"] is True
    family.find(server)
    assert server.wait_exit(within=10) == 1
    until(lambda: said(server) == "new", "the new process serves")


UNENDING = """local object = newproxy(true)
getmetatable(object).__gc = function() while true do end end
kept = object
error("it fails")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_finalizer_of_a_broken_script_that_never_returns_holds_nobody_up(zerg, control, number):
    server = zerg(HELLO.format("old"))
    client = control(server)
    assert said(server) == "old"
    server.directory.write("handler.lua", UNENDING)
    answer, _ = client.ask("reload")
    assert answer["ok"] is False and "it fails" in answer["error"]
    server.log.expect("reload: version 1 goes on: .*it fails")
    assert client.ask("status")[0]["ok"] is True
    assert said(server) == "old"
    server.process.send_signal(number)
    assert server.wait_exit(within=12) == 1
    server.log.expect("a finalizer of a script that could not be used did not stop within")
    server.check_at_end = False


SWITCHED_LATE = """local zerg = require "zerg"
return {
  start = function()
    if zerg.reactor == 1 then zerg.sleep(1) end
    zerg.log.info("reactor " .. zerg.reactor .. " has started")
  end,
  serve = function(conn)
    conn:write("WORD ", zerg.reactor, "\\n")
    if not conn:read() then return end
    local begin = os.time()
    while os.time() - begin < 9 do end
  end,
}
"""


@pytest.mark.threads
def test_a_reactor_that_is_held_at_the_switch_follows_later(zerg, control):
    server = zerg(files={"handler.lua": SWITCHED_LATE.replace("WORD", "old")}, reactors=2, script_stall=0)
    server.log.wait("is ready")
    client = control(server)
    peers = {peer.line(): peer for peer in server.connect_many(8)}
    assert set(peers) == {"old 0", "old 1"}
    server.directory.write("handler.lua", SWITCHED_LATE.replace("WORD", "new"))
    seen = server.log.text().count("reactor 0 has started")
    client.send("reload\n")
    until(lambda: server.log.text().count("reactor 0 has started") > seen, "reactor 0 waits for the other one")
    peers["old 0"].send("x")
    assert client.reply() == {"progress": "loading"}
    progress = client.reply()["progress"]
    assert progress.startswith("version 2 is current, but reactor 0 is held by a script that has not parked for 5 s")
    assert client.reply() == {"ok": True, "version": 2}
    server.log.expect("reload: version 2 is current, but reactor 0 is held")
    until(lambda: {server.connect().line() for _ in range(8)} == {"new 0", "new 1"}, "it has followed")
