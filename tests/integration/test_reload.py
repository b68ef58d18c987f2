"""Reloading: a changed configuration and changed scripts are served, what is wrong changes nothing, and nothing of the
versions before stays behind."""

import pytest

from harness import free_port
from httptalk import ask, get
from luatext import ECHO, handler
from peer import Backend, dial, until
from reloads import reload, reload_fails

SAY = 'conn:write("{}\\n") conn:wait()'


def say(word):
    """A handler that says a word and stays until the client leaves."""
    return handler(SAY.format(word))


def said(server, listener=0):
    with server.connect(listener) as peer:
        return peer.line()


def refused(target):
    try:
        dial(target).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except ConnectionResetError:
        pass
    return False


# ---- what a reload changes ----


def test_a_changed_handler_serves_new_connections(zerg, quick_engine):
    server = zerg(SAY.format("old"))
    old = server.connect()
    assert old.line() == "old"
    server.directory.write("handler.lua", say("new"))
    assert reload(server) == 2
    assert {said(server) for _ in range(8)} == {"new"}
    old.expect_silence(0)


def test_a_changed_module_that_a_handler_requires(zerg):
    server = zerg(files={"handler.lua": handler('conn:write(require("words"), "\\n")'), "words.lua": 'return "old"'})
    assert said(server) == "old"
    server.directory.write("words.lua", 'return "new"')
    reload(server)
    assert said(server) == "new"


def test_a_script_without_configuration(zerg):
    server = zerg.script(say("old"))
    assert said(server) == "old"
    server.directory.write("script.lua", say("new"))
    reload(server)
    assert said(server) == "new"
    server.directory.write("script.lua", "return {")
    reload_fails(server, "script.lua:1")
    assert said(server) == "new"


def test_a_proxy_of_the_command_line(zerg, behind):
    backend = behind(Backend)
    port = free_port()
    server = zerg.proxy(f"127.0.0.1:{port}", backend.target, port=port)
    with server.connect() as client:
        server_side = backend.accept()
        assert reload(server) == 2
        client.send("ping")
        server_side.expect("ping").send("pong")
        client.expect("pong")
    with server.connect() as client:
        client.send("again")
        backend.accept().expect("again")


@pytest.mark.threads
def test_listeners_come_and_go(zerg, quick_engine):
    server = zerg(ECHO, listeners=[{"address": "127.0.0.1"}, {"address": "127.0.0.1"}, {"path": "one"}])
    kept, removed, unix = server.rows
    peers = [server.connect(listener) for listener in range(3)]
    for peer in peers:
        peer.ask("before")
    gone = server.targets[1:]
    server.configure(listeners=[kept, {"address": "127.0.0.1"}, {"path": "two"}])
    reload(server)
    for listener in range(3):
        server.connect(listener).ask("new")
    for target in gone:
        until(lambda: refused(target), f"{target} is refused")
    for peer in peers:
        peer.ask("after")
    for target in peers[1:]:
        target.half_close().expect_end()
    server.configure(listeners=[kept, removed, unix])
    reload(server)
    for listener in range(3):
        server.connect(listener).ask("back")


@pytest.mark.threads
def test_connections_of_a_removed_listener_are_cut_at_drain_timeout(zerg, quick_engine):
    server = zerg(ECHO, listeners=[{"address": "127.0.0.1"}, {"address": "127.0.0.1"}], drain_timeout=0.3)
    server.log.allow("cut")
    peers = server.connect_many(4, listener=1)
    for peer in peers:
        peer.ask("x")
    server.configure(listeners=server.rows[:1])
    reload(server)
    for peer in peers:
        peer.expect_end()


def test_an_idle_http_connection_of_a_removed_listener_is_drained(zerg):
    server = zerg(files={"web.lua": "return function(_, res) res:send('hi') end"}, drain_timeout=30,
                  listeners=[{"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"} for _ in range(2)])
    idle, busy = server.connect_many(2, listener=1)
    for peer in (idle, busy):
        assert ask(peer, get("/")).status == 200
    server.configure(listeners=server.rows[:1])
    reload(server)
    assert ask(busy, get("/"))["Connection"] == "close"
    busy.expect_end()
    idle.expect_end(within=5)
