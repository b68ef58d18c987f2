"""Limits, time-outs and the log by reload, and what many reloads leave behind."""

import contextlib

import pytest

from luatext import ECHO, handler
from peer import until
from reloads import hup, reload, versions, wait_for_versions
from test_reload import SAY, said, say


@pytest.mark.threads
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_connections_per_ip_by_reload(zerg, accept):
    server = zerg(ECHO, listeners=[{"address": "127.0.0.1", "name": "front"}], reactors=2, accept=accept)
    server.log.allow("refused")
    before = server.connect_many(4)
    for peer in before:
        peer.ask("x")

    def limit(count):
        server.configure(listeners=[{**server.rows[0], "limits": {"connections_per_ip": count} if count else {}}])
        reload(server)

    def served():
        with contextlib.suppress(ConnectionResetError, BrokenPipeError, AssertionError):
            return server.connect().ask("hello")
        return None

    limit(2)  # those that are there already do not count
    assert [bool(served()) for _ in range(3)] == [True, True, False]
    limit(3)
    assert served()
    assert not served()
    limit(None)
    assert all(served() for _ in range(6))
    limit(1)
    for peer in before:
        peer.ask("still here")


def test_max_connections_by_reload(zerg):
    server = zerg(ECHO, listeners=[{"address": "127.0.0.1", "max_connections": 2}])
    first, second = server.connect_many(2)
    first.ask("x")
    second.ask("x")
    third = server.connect().send("x")
    third.expect_silence(0.05)
    server.configure(listeners=[{**server.rows[0], "max_connections": 3}])
    reload(server)
    third.expect("x")


def test_time_outs_of_new_connections(zerg):
    server = zerg('local _, reason = conn:read() conn:write(reason, "\\n")', listeners=[
        {"address": "127.0.0.1", "timeouts": {"read": 60}}])
    before = server.connect()
    server.connect().close()
    server.configure(listeners=[{**server.rows[0], "timeouts": {"read": 0.1}}])
    reload(server)
    assert server.connect().line() == "timeout"
    before.expect_silence(0.15)


def test_the_log_by_reload(zerg):
    server = zerg('zerg.log.debug("served %s", conn:read()) conn:write("ok")')
    server.connect().ask("one", "ok")
    server.configure(log={"level": "debug"})
    reload(server)
    server.connect().ask("two", "ok")
    server.log.wait("debug.*served two")
    assert not server.log.find("served one")
    other = server.path / "other.log"
    server.configure(log={"level": "debug", "file": str(other)})
    hup(server)
    until(lambda: other.exists() and "is current" in other.read_text(), "the other file is written")
    server.connect().ask("three", "ok")
    until(lambda: "served three" in other.read_text(), "in the other file")
    server.configure(log={"level": "info", "file": str(server.path / "no" / "such" / "place")})
    hup(server)
    until(lambda: "log.file: cannot open" in other.read_text(), "it says so")
    server.connect().ask("four", "ok")
    until(lambda: "served four" in other.read_text(), "the level stays too")
    server.reactors = 0


# ---- many ----


@pytest.mark.threads
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_conversations_go_on_while_versions_come(zerg, control, accept):
    """Every byte of conversations that began on each version is right, and each has the version it began on."""
    body = """
        local reader = conn:reader()
        while true do
          local line = reader:read_line()
          if not line then return end
          conn:write("{} ", line, "\\n")
        end
    """
    server = zerg(body.format(1), reactors=2, accept=accept, drain_timeout=60)
    client = control(server)
    peers = {1: server.connect_many(3)}
    for version in range(2, 12):
        server.directory.write("handler.lua", handler(body.format(version)))
        assert reload(server) == version
        peers[version] = server.connect_many(3)
        for began, members in peers.items():
            for peer in members:
                assert peer.ask_line(f"hello {version}") == f"{began} hello {version}"
    assert [row["number"] for row in versions(client)] == list(range(1, 12))
    for began in range(1, 11):
        for peer in peers[began]:
            peer.close()
    wait_for_versions(client, 11)


def test_drain_timeout_cuts_conversations_and_on_close_runs(zerg, control):
    server = zerg("""
        conn:on_close(function(_, reason) zerg.log.info("on_close: %s", reason) end)
        conn:write("hello\\n")
        conn:wait()
    """, drain_timeout=0.3)
    client = control(server)
    peers = server.connect_many(3)
    for peer in peers:
        assert peer.line() == "hello"
    server.directory.write("handler.lua", say("new"))
    reload(server)
    for peer in peers:
        peer.expect_end()
        peer.close()
    wait_for_versions(client, 2)
    until(lambda: len(server.log.find("on_close: ")) == 3, "on_close of each")


@pytest.mark.heavy
@pytest.mark.threads
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_two_hundred_reloads_leave_nothing_behind(zerg, control, accept):
    server = zerg(SAY.format("word 1"), reactors=2, accept=accept,
                  upstreams={"app": {"servers": ["127.0.0.1:1"]}},
                  listeners=[{"address": "127.0.0.1"}, {"address": "127.0.0.1", "forward": "app"}])
    client = control(server)
    at = {}
    for number in range(2, 202):
        server.directory.write("handler.lua", say(f"word {number}") + f"-- {'x' * (number % 7)}\n")
        hup(server)
        until(lambda: [row["number"] for row in versions(client)] == [number], f"version {number}")
        assert said(server) == f"word {number}"
        if number in (11, 201):
            at[number] = server.resident_bytes(), server.descriptors(), len(server.threads())
    (first, *rest), (last, *same) = at[11], at[201]
    assert last <= first * 1.05, f"{first} bytes after 10 reloads, {last} after 200"
    assert abs(rest[0] - same[0]) <= 1 and rest[1] == same[1], at
