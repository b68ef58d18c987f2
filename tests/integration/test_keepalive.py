"""conn:keepalive: connections that a handler gives back, and who gets them next."""

import contextlib
import signal
import socket

import pytest

from peer import Backend, until
from talkers import Talker

KEEP = """
local reader = conn:reader()
while true do
  local line = reader:read_line()
  if not line then return end
  local server = assert(zerg.connect(TARGET, line == "fresh" and { fresh = true } or nil))
  server:write(line, "\\n")
  conn:write(server:reader():read_line(), "\\n")
  assert(server:keepalive(IDLE))
end
"""


class Numbered(Talker):
    """Answers every line with the number of the connection."""

    def __init__(self):
        self.count = 0
        super().__init__("numbered")

    def _talk(self, peer):
        self.count += 1
        name = f"{self.count}\n"
        with contextlib.suppress(OSError, AssertionError):
            while True:
                peer.line()
                peer.send(name)
        peer.close()


def test_a_connection_given_back_is_used_again(caller, engine, behind):
    numbered = behind(Numbered)
    server = caller("local IDLE\n" + KEEP, numbered.target)
    client = server.connect()
    assert [client.ask_line(word) for word in ("a", "b", "fresh", "c")] == ["1", "1", "2", "2"]


def test_what_is_kept_idle_ends_with_its_time(caller, behind):
    numbered = behind(Numbered)
    server = caller("local IDLE = 0.05\n" + KEEP, numbered.target, reactors=1)
    client = server.connect()
    assert client.ask_line("a") == "1"
    before = server.descriptors()
    until(lambda: server.descriptors() < before, "the idle connection is closed")
    assert client.ask_line("b") == "2"


@pytest.mark.parametrize("what", ["bytes", "end", "reset"])
@pytest.mark.parametrize("waits", [True, False], ids=["seen", "unseen"])
def test_a_connection_that_stirred_while_idle_is_not_handed_out(caller, engine, behind, what, waits):
    backend = behind(Backend)
    server = caller("""
        for i = 1, 2 do
          local server = assert(zerg.connect(TARGET))
          server:send("hello " .. i .. "\\n")
          conn:write(server:reader():read_line(), "\\n")
          server:keepalive()
          conn:reader():read_line()
        end
    """, backend.target)
    client = server.connect()
    first = backend.accept().expect("hello 1\n").send("first\n")
    assert client.line() == "first"
    before = server.descriptors()
    {"bytes": lambda: first.send("stray\n"), "end": first.close, "reset": first.reset}[what]()
    if waits:
        until(lambda: server.descriptors() < before or what != "reset", "it is noticed")
    client.send("go on\n")
    second = backend.accept().expect("hello 2\n").send("second\n")
    assert client.line() == "second"
    second.close()


def test_a_connection_with_bytes_left_is_not_kept(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        local server = zerg.connect(TARGET)
        server:wait()
        conn:write(tostring(select(2, server:keepalive())), "\\n")
        conn:write(select(2, pcall(server.read, server)), "\\n")
        server = zerg.connect(TARGET)
        server:write("x")
        conn:write(tostring(select(2, server:keepalive())), "\\n")
        server = zerg.connect(TARGET)
        while server:read() do end
        conn:write(tostring(select(2, server:keepalive())), "\\n")
    """, backend.target).connect()
    backend.accept().send("unread")
    assert client.line() == "busy: bytes were left unread or unsent"
    assert "conn:read: used after close" in client.line()
    backend.accept()
    assert client.line() == "busy: bytes were left unread or unsent"
    backend.accept().close()
    assert client.line() == "closed"


@pytest.mark.parametrize("why", ["no room", "half-closed", "draining"])
def test_what_the_pool_does_not_take_is_closed(caller, engine, behind, why):
    backend = behind(Backend)
    server = caller("""
        local server = zerg.connect("app")
        server:on_close(function(_, reason) conn:write("on_close ", reason, "\\n") end)
        conn:write("connected\\n")
        if conn:read() == "shut" then server:shutdown() end
        local ok, reason = server:keepalive()
        conn:write(tostring(ok), " ", reason, "\\n")
        conn:write(select(2, pcall(server.write, server, "x")), "\\n")
        conn:read()
    """, drain_timeout=5, upstreams={"app": {"servers": [backend.target], "keepalive": 0 if why == "no room" else 8}})
    client = server.connect()
    assert client.line() == "connected"
    upstream = backend.accept()
    if why == "draining":
        server.send_signal(signal.SIGTERM)
        server.log.wait("no more connections.*")
    client.send("shut" if why == "half-closed" else "go")
    assert client.line() == "nil closed"
    assert "conn:write: used after close" in client.line()
    assert client.line() == "on_close closed"
    upstream.expect_end()
    client.close()


def test_bytes_are_counted_for_each_user(caller, engine, behind):
    numbered = behind(Numbered)
    client = caller("""
        for i = 1, 3 do
          local server = zerg.connect(TARGET)
          conn:write(server.bytes_in, " ", server.bytes_out, " ")
          server:write(("x"):rep(i), "\\n")
          server:reader():read_line()
          conn:write(server.bytes_in, " ", server.bytes_out, "\\n")
          server:keepalive()
        end
    """, numbered.target).connect()
    assert [client.line() for _ in range(3)] == ["0 0 2 2", "0 0 2 3", "0 0 2 4"]


def test_the_old_handle_does_not_reach_the_next_user(caller, engine, behind):
    numbered = behind(Numbered)
    client = caller("""
        local first = zerg.connect(TARGET)
        first:send("x\\n")
        first:reader():read_line()
        first.ctx.secret = 1
        first:on_close(function() conn:write("wrong\\n") end)
        first:keepalive()
        local second = zerg.connect(TARGET)
        conn:write(tostring(second.id ~= first.id), " ", tostring(second.ctx.secret), " ",
                   tostring(second.local_port ~= 0), " ", first.local_port, " ", first.reason, "\\n")
        conn:write(select(2, pcall(first.write, first, "stray\\n")), "\\n")
        first:close()
        first:abort()
        local by_another = zerg.spawn(function() return select(2, first:write("stray\\n")) end)
        conn:write(by_another:join(), "\\n")
        second:write("y\\n")
        conn:write(second:reader():read_line(), "\\n")
        second:close()
        zerg.sleep(0.02)
        conn:write("end\\n")
    """, numbered.target).connect()
    assert client.line() == "true nil true 0 closed"
    assert "conn:write: used after close" in client.line()
    assert client.line() == "closed"
    assert client.line() == "1"
    assert client.line() == "end"


def test_no_more_are_kept_than_the_upstream_says(caller, behind):
    counted = behind(Talker, "x")
    server = caller("""
        local all = {}
        for i = 1, 5 do
          all[i] = zerg.connect("app", { fresh = true })
          all[i]:reader():read_line()
        end
        for i = 1, 5 do all[i]:keepalive() end
        conn:write("kept\\n")
        conn:read()
    """, reactors=1, upstreams={"app": {"servers": [counted.target], "keepalive": 2}})
    client = server.connect()
    assert client.line() == "kept"
    until(lambda: sum(is_open(peer) for peer in counted.backend.peers) == 2, "two are left")


def is_open(peer):
    """Whether the other end has not closed: TCP_ESTABLISHED."""
    with contextlib.suppress(OSError):
        return peer.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x01"
    return False


def test_a_server_with_room_for_one_serves_all_in_turn(caller, engine, behind):
    """Each gives its place back: by keepalive, by closing, by forwarding either way."""
    numbered = behind(Numbered)
    options = {"upstreams": {"app": {"servers": [{"address": numbered.target, "max_connections": 1}]}}}
    server = caller("""
        local way = conn:reader():read_line()
        local server = assert(zerg.connect("app"))
        server:write("x\\n")
        assert(server:reader():read_line())
        if way == "keep" then server:keepalive()
        elseif way == "close" then server:close()
        elseif way == "from" then server:forward(conn)
        else conn:forward(server) end
        conn:write("ok ", way, "\\n")
        zerg.sleep(5)
    """, **options)
    for way in ("close", "keep", "from", "keep", "to", "close"):
        client = server.connect().send(way + "\n")
        if way in ("from", "to"):
            client.half_close()
            assert client.rest() == b""
        else:
            assert client.line() == "ok " + way


@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_idle_connections_count_and_make_way(caller, behind, reactors):
    """Those that wait in the pool of any reactor are among max_connections, and go when another one needs their place."""
    numbered = behind(Numbered)
    server = caller("""
        local server = assert(zerg.connect("app", conn:reader():read_line() == "fresh" and { fresh = true } or nil))
        server:write("x\\n")
        conn:write(server:reader():read_line(), "\\n")
        server:keepalive()
    """, reactors=reactors, upstreams={"app": {"servers": [{"address": numbered.target, "max_connections": 2}]}})
    for turn in range(16):
        clients = [server.connect().send("fresh\n" if turn % 4 == 3 else "any\n") for _ in range(4)]
        for client in clients:
            assert client.line().isdigit()
            client.close()
        until(lambda: sum(is_open(peer) for peer in numbered.backend.peers) <= 2, "no more than two are open")


def test_idle_connections_of_many_targets_leave_room_for_clients(caller, behind):
    servers = [behind(Talker, str(i)) for i in range(24)]
    server = caller("""
        local server = assert(zerg.connect(conn:reader():read_line()))
        conn:write(server:reader():read_line(), "\\n")
        server:keepalive()
    """, reactors=1, reactor={"max_connections": 16})
    for i, talker in enumerate(servers):
        client = server.connect().send(talker.target + "\n")
        assert client.line() == str(i)
        client.close()


def test_an_idle_connection_is_used_for_the_same_upstream_alone(caller, behind):
    """What another one has in front, or has not, and who it was for, would be wrong."""
    backend = behind(Backend)
    server = caller("""
        for _, name in ipairs { TARGET, "app", TARGET, "app" } do
          local server = assert(zerg.connect(name))
          server:write(name == "app" and "to app\\n" or "plain\\n")
          conn:write(server:reader():read_line(), "\\n")
          server:keepalive()
        end
    """, backend.target, reactors=1, upstreams={"app": {"servers": [backend.target], "proxy_protocol": 1}})
    client = server.connect()
    plain = backend.accept().expect("plain\n").send("1\n")
    assert client.line() == "1"
    told = backend.accept().expect("PROXY UNKNOWN\r\nto app\n").send("2\n")
    assert client.line() == "2"
    plain.expect("plain\n").send("3\n")
    assert client.line() == "3"
    told.expect("to app\n").send("4\n")
    assert client.line() == "4"
