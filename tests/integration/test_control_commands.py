"""`reload`, `check` and `eval` of the control socket against a real server; reactors that do not answer; and everything at the
end of the server. (`connections` and `servers` have files of their own, as has the REPL.)"""

import json

import pytest

from luatext import ECHO, handler
from peer import PATIENCE, SCALE, until


def evaluate(client, code, reactor=0):
    """The whole reply."""
    return client.ask(f"eval {reactor} {json.dumps(code)}")[0]


def values(client, code, reactor=0):
    reply = evaluate(client, code, reactor)
    assert reply["ok"] is True, reply
    return reply["values"]


# ---- reload and check ----


def test_reload_loads_and_says_the_version(zerg, control):
    server = zerg('conn:write("one")')
    client = control(server)
    server.connect().expect("one")
    server.directory.write("handler.lua", handler('conn:write("two")'))
    assert client.ask("reload") == ({"ok": True, "version": 2}, ["loading"])
    server.connect().expect("two")
    assert client.ask("reload now")[0] == {"ok": False, "error": "usage: reload"}


@pytest.mark.parametrize("file, text, error", [
    ("handler.lua", "return function(conn)\n  x x\nend\n", r"handler.lua:2: "),
    ("handler.lua", "\nerror('at load')\n", r"handler.lua:2: "),
    ("zerg.lua", "return {\n  listenrs = {},\n}\n", r"zerg.lua:2: "),
    ("zerg.lua", "return {\n", r"zerg.lua:"),
])
@pytest.mark.parametrize("command", ["reload", "check"])
def test_what_is_wrong_is_said_with_file_and_line(zerg, control, command, file, text, error):
    server = zerg('conn:write("one")').wait_listening()
    client = control(server)
    server.directory.write(file, text)
    reply, _ = client.ask(command)
    assert reply["ok"] is False and error in reply["error"], reply
    server.connect().expect("one")
    assert client.ask("status")[0]["versions"][0]["number"] == 1
    if command == "reload":
        server.log.expect("reload: version 1 goes on: .*" + error.split(":")[0])


def test_several_problems_are_all_said(zerg, control):
    server = zerg(ECHO).wait_listening()
    client = control(server)
    server.directory.write("zerg.lua", 'return {\n listenrs = {},\n reactors = "x",\n}\n')
    error = client.ask("check")[0]["error"]
    assert len(error.split("\n")) >= 2 and "zerg.lua:2" in error and "zerg.lua:3" in error


def test_check_runs_scripts_and_self_tests_and_changes_nothing(zerg, control):
    server = zerg('conn:write("one")').wait_listening()
    client = control(server)
    server.directory.write("handler.lua", """
        return { serve = function(conn) conn:write("two") end, test = function() error("not well") end }
    """)
    assert "not well" in client.ask("check")[0]["error"]
    server.directory.write("handler.lua", """
        return { serve = function(conn) conn:write("two") end, test = function() end }
    """)
    assert client.ask("check") == ({"ok": True, "version": 1}, ["loading"])
    server.connect().expect("one")
    assert client.ask("check it")[0] == {"ok": False, "error": "usage: check"}


@pytest.mark.threads
def test_several_clients_at_once_all_get_an_answer(zerg, control):
    """Those that came in time share one."""
    server = zerg(ECHO, reactors=2)
    clients = [control(server) for _ in range(20)]
    for index, client in enumerate(clients):
        client.send("reload\n" if index % 4 else "check\n")
    for client in clients:
        assert client.reply() == {"progress": "loading"}
        assert client.reply()["ok"] is True
    until(lambda: len(client.ask("status")[0]["versions"]) == 1, "versions before it have ended")
    server.connect().ask("x")


def test_a_reload_goes_on_without_who_asked_for_it(zerg, control):
    server = zerg('conn:write("one")').wait_listening()
    server.directory.write("handler.lua", handler('conn:write("two")'))
    for request in ("reload\n", "check\nreload\n"):
        control(server).send(request).close()
    server.log.wait("version 3 is current")
    server.connect().expect("two")


def test_the_command_line_reloads_and_says_why_not(zerg, control):
    server = zerg(ECHO)
    control(server)
    done = zerg.command("reload", "--control", server.control)
    assert done.returncode == 0 and "2" in done.stdout
    server.directory.write("handler.lua", "return nothing.at.all")
    done = zerg.command("reload", "--control", server.control)
    assert done.returncode == 1 and "handler.lua:1: " in done.stderr
    server.log.expect("version 2 goes on")


# ---- eval ----


@pytest.mark.parametrize("code, expected", [
    ("1 + 1", ["2"]), ("return 1, nil, 'x'", ["1", "nil", '"x"']), ("", []), ("local x = 1", []), ("nil", ["nil"]),
    ("{ 1, 2, a = { b = true } }", ["{ 1, 2, a = { b = true } }"]), ("_G == _G", ["true"]), ("0/0 ~= 0/0", ["true"]),
    ("'ü'", ['"ü"']), ("'a\\nb'", [r'"a\nb"']), ("setmetatable({}, { __tostring = function() return 'me' end })", ["me"]),
])
def test_values_are_shown_as_lua(zerg, control, code, expected):
    assert values(control(zerg(ECHO)), code) == expected


def test_state_and_globals_stay(zerg, control):
    client = control(zerg(ECHO))
    assert values(client, "x = 5") == []
    assert values(client, "x") == ["5"]
    reply = evaluate(client, "print('a', 1, nil) print('b') return 7")
    assert reply == {"ok": True, "output": "a\t1\tnil\nb\n", "values": ["7"]}


@pytest.mark.threads
def test_every_reactor_has_a_state_of_its_own(zerg, control):
    client = control(zerg(ECHO, reactors=2))
    for reactor in (0, 1):
        values(client, f"mine = {reactor}", reactor)
    assert [values(client, "mine", reactor) for reactor in (0, 1)] == [["0"], ["1"]]
    for word in ("2", "-1", "x", '""', "4294967296", "18446744073709551616"):
        reply, _ = client.ask(f"eval {word} 1")
        assert reply["ok"] is False and reply["error"].startswith("expected a reactor from 0 to 1, got "), word
    assert client.ask("eval 0")[0] == {"ok": False, "error": "usage: eval REACTOR CODE"}


def test_what_it_sees_is_the_current_version_s(zerg, control):
    server = zerg("conn:close()", top="where = 'first'")
    client = control(server)
    assert values(client, "where") == ['"first"']
    server.directory.write("handler.lua", "where = 'second'\n" + handler("conn:close()"))
    assert client.ask("reload")[0]["ok"]
    assert values(client, "where") == ['"second"']


@pytest.mark.parametrize("code, parts", [
    ("error('oops')", ["repl:1: oops", "stack traceback:"]), ("x x", ["repl:1: "]), ("nothing.at.all", ["repl:1: "]),
    ("error({})", ["table: "]), ("error()", ["nil"]), ("error({ code = 5 })", ["table: "]),
    ("error(setmetatable({}, { __tostring = function() return 'odd one' end }))", ["odd one"]),
    ("print('before') error('after')", ["before\nrepl:1: after"]),
    ("setmetatable({}, { __tostring = function() error('in it') end })", ["in it"]),
    ("(function() local function f() return 1 + f() end return f() end)()", ["stack overflow"]),
    ("local s = 'x' for i = 1, 40 do s = s .. s end", ["not enough memory"]),
])
def test_errors_are_answers(zerg, control, code, parts):
    server = zerg(ECHO, script_memory_max="64m", script_stall="1m")
    client = control(server)
    reply = evaluate(client, code)
    assert reply["ok"] is False, reply
    for part in parts:
        assert part in reply["error"], reply
    assert values(client, "1") == ["1"]


@pytest.mark.parametrize("code", [
    "require('zerg').sleep(1)", "require('zerg').spawn(function() end):join()",
    "assert(require('zerg').connect('127.0.0.1:1'))", "coroutine.yield()"])
def test_nothing_can_park(zerg, control, code):
    server = zerg(ECHO)
    client = control(server)
    assert evaluate(client, code)["ok"] is False
    assert values(client, "1") == ["1"]
    server.connect().ask("x")


def test_bytes_that_are_no_text(zerg, control):
    client = control(zerg(ECHO))
    assert values(client, r"'a\0b\1\255'") == [r'"a\0b\1\255"']
    assert evaluate(client, r"print('a\255b\0c')")["output"].startswith("a")
    reply = evaluate(client, r"error('bad \254 \0 byte')")
    assert reply["ok"] is False and "bad " in reply["error"] and "byte" in reply["error"]


def test_long_code_and_long_results(zerg, control):
    client = control(zerg(ECHO))
    code = "local x = 0 " + "x = x + 1 " * 6000 + "return x"
    assert len(code) > 60_000
    assert values(client, code) == ["6000"]
    assert values(client, "('x'):rep(3000000)") == ['"' + "x" * 3_000_000 + '"']


def test_what_it_begins_goes_on_by_itself(zerg, control):
    server = zerg(ECHO)
    client = control(server)
    values(client, "require('zerg').spawn(function() require('zerg').sleep(0.01) done = true end)")
    until(lambda: values(client, "done") == ["true"], "a task that was spawned")


# ---- reactors that do not answer ----

HOLD = """
conn:reader():read_line()
zerg.log.info("held")
local until_ = os.time() + 7
while os.time() < until_ do end
conn:write("over")
"""


@pytest.mark.threads
def test_a_reactor_that_a_handler_holds_fails_the_request_and_the_others_go_on(zerg, control):
    """And what it was asked is not run when the handler has parked."""
    server = zerg(HOLD, reactors=2, script_stall="20s").wait_listening()
    client = control(server)
    peer = server.connect()
    held = until(lambda: [row["reactor"] for row in client.ask("connections")[0]["connections"]], "its reactor")[0]
    peer.send("now\n")
    server.log.wait("held")
    requests = [f'eval {held} "seen = 1"', "connections", f"close {2 * 1000 + held + 1}"]
    others = [control(server).send(request + "\n") for request in requests]
    assert values(client, "1 + 1", 1 - held) == ["2"]
    assert client.ask("status")[0]["ok"]
    gone = control(server)
    gone.send(f'eval {held} "seen = 2"\n').close()
    for other in others:
        other.peer.sock.settimeout(8 * SCALE)
        reply = other.reply()
        assert reply == {"ok": False, "error": "the reactor does not answer: a handler has not parked for 5 s; "
                         "this was not run, and will not be"}
    peer.sock.settimeout(PATIENCE)
    peer.expect("over")
    assert values(client, "seen", held) == ["nil"]
    assert client.ask("connections")[0]["ok"]


def test_clients_that_leave_pile_nothing_up_before_a_held_reactor(zerg, control):
    server = zerg(HOLD, script_stall="20s").wait_listening()
    peer = server.connect()
    peer.send("now\n")
    server.log.wait("held")
    for _ in range(40):
        control(server).send("connections\n").close()
    client = control(server)
    until(lambda: client.ask("connections")[0] == {
        "ok": False, "error": "reactor 0 does not answer, and 32 requests wait for it already: this was not run, and "
                              "will not be"}, "no room for more")
    peer.sock.settimeout(PATIENCE)
    peer.expect("over")
    until(lambda: client.ask("connections")[0]["ok"], "an answer")


# ---- the end of the server ----


@pytest.mark.threads
def test_everything_while_draining(zerg, control):
    server = zerg(ECHO, reactors=2, drain_timeout=30, upstreams={"app": {"servers": ["127.0.0.1:9"]}}).wait_listening()
    client, stopper = control(server), control(server)
    peers = [server.connect().ask("x") for _ in range(4)]
    for peer in peers[1:]:
        peer.close()
    until(lambda: len(client.ask("connections")[0]["connections"]) == 1, "one connection")
    stopper.send("stop\n").reply()
    (row,) = client.ask("connections")[0]["connections"]
    shutting_down = {"ok": False, "error": "the server is shutting down"}
    for command in ("reload", "check", "upgrade"):
        assert client.ask(command)[0] == shutting_down
    assert client.ask("servers")[0]["ok"]
    assert client.ask("server app 127.0.0.1:9 down")[0]["ok"]
    assert values(client, "1", row["reactor"]) == ["1"]
    reply = evaluate(client, "1", 1 - row["reactor"])
    assert reply["ok"] or reply["error"] == "the reactor has ended"
    peers[0].ask("y")
    assert client.ask(f"close {row['id']}")[0] == {"ok": True}
    peers[0].expect_end()
    while "ok" not in (reply := stopper.reply()):
        pass
    assert reply == {"ok": True}
    assert server.wait_exit() == 0


def test_requests_that_are_pending_at_the_end_are_answered(zerg, control):
    server = zerg(ECHO, drain_timeout=30)
    server.log.allow("reload: .* the server is shutting down")
    clients = [control(server) for _ in range(12)]
    stopper = control(server)
    server.connect().ask("x")
    for client, request in zip(clients, ["connections", "eval 0 1", "close 1", "reload", "check", "servers"] * 2):
        client.send(request + "\n")
    stopper.send("stop now\n")
    for client in clients:
        while "ok" not in (reply := client.reply()):
            pass
        assert reply["ok"] or reply["error"] in ("the server has ended", "the server is shutting down",
                                                 "there is no connection 1 (any more)"), reply
    assert server.wait_exit() == 0


def test_who_waits_for_a_held_reactor_learns_of_the_end(zerg, control):
    server = zerg("while true do end", script_stall="100ms", drain_timeout=30)
    server.log.allow("is held by a handler|did not stop")
    client = control(server)
    server.connect()
    server.log.wait("is held by a handler")
    pending = control(server).send("eval 0 1\n")
    answer, _ = client.ask("stop now")
    assert answer["ok"] is False
    assert pending.reply() == {"ok": False, "error": "the server has ended"}
    assert server.wait_exit() == 1
    server.check_at_end = False
