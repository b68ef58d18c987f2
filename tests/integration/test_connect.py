"""zerg.connect, conn:keepalive and zerg.resolve: a handler that calls other servers."""

import contextlib
import signal
import socket

import pytest

from harness import free_port
from luatext import literal
from peer import Backend, Blackhole, until
from talkers import Counted, Refusing, Talker


@pytest.fixture
def caller(zerg):
    """Starts a server whose handler is `body`, with TARGET as a local. Options are those of the configuration."""

    def start(body, target="", **options):
        server = zerg(body, top=f"local TARGET = {literal(target)}", **options)
        server.may_punt = True
        return server.wait_listening()

    return start


ASK = """
local server, reason = zerg.connect(TARGET)
if not server then return conn:write("no: ", reason, "\\n") end
server:write("hello\\n")
local reader = server:reader()
conn:write(reader:read_line(), " ", reader:read_line(), "\\n")
server:close()
"""


# ---- where to ----


@pytest.mark.parametrize("form", ["tcp", "unix", "abstract", "ipv6", "name", "upstream"])
def test_a_handler_calls_another_server(caller, engine, behind, tmp_path, form):
    address = {"unix": str(tmp_path / "sock"), "abstract": "\0zerg-test-connect", "ipv6": ("::1", 0)}.get(
        form, ("127.0.0.1", 0))
    backend = behind(Backend, address)
    target = {"abstract": "unix:@zerg-test-connect", "upstream": "app"}.get(form) or backend.target
    target = target.replace("127.0.0.1", "localhost") if form == "name" else target
    options = {"upstreams": {"app": {"servers": [backend.target]}}} if form == "upstream" else {}
    client = caller(ASK, target, **options).connect()
    upstream = backend.accept()
    upstream.expect("hello\n").send("a\nb\n")
    assert client.line() == "a b"
    upstream.expect_end()


def test_fields_of_an_outgoing_connection(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        local server = assert(zerg.connect(TARGET))
        server.ctx.mine = "kept"
        conn:write(server.remote_addr, " ", server.remote_port, " ", server.local_addr, " ", server.local_port, " ",
                   "<", server.listener, "> ", server.ctx.mine, " ", tostring(server.reason), " ",
                   tostring(server.id ~= conn.id), " ", tostring(server.proxy), "\\n")
        server:send("12345")
        server:read()
        conn:write(server.bytes_out, " ", server.bytes_in, "\\n")
        while server:read() do end
        conn:write(server.reason, "\\n")
    """, backend.target).connect()
    upstream = backend.accept()
    host, port = upstream.sock.getpeername()
    assert client.line() == f"127.0.0.1 {backend.port} {host} {port} <> kept nil true nil"
    upstream.send("123")
    assert client.line() == "5 3"
    upstream.reset()
    assert client.line() == "reset"


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_address_of_a_unix_socket(caller, engine, behind, tmp_path, is_abstract):
    path = "@zerg-test-address" if is_abstract else str(tmp_path / "sock")
    backend = behind(Backend, path.replace("@", "\0"))
    server = caller("""
        local server = zerg.connect("unix:" .. TARGET)
        zerg.log.info("to: <%s> %d <%s>", server.remote_addr, server.remote_port, conn.remote_addr)
        zerg.log.info("result: %s", conn:forward(server).server)
    """, path)
    server.connect().half_close()
    backend.accept().close()
    assert server.log.wait("to: .*").endswith(f"to: <{path}> 0 <127.0.0.1>")
    assert server.log.wait("result: .*").endswith(path)


def test_an_empty_hash_key_is_a_key(caller, engine, behind):
    backends = [behind(Talker, str(i)) for i in range(8)]
    client = caller("""
        for i = 1, 8 do
          conn:write(zerg.connect("app", { hash_key = "", fresh = true }):reader():read_line(), "\\n")
        end
    """, upstreams={"app": {"servers": [backend.target for backend in backends], "balance": "hash"}}).connect()
    assert len({client.line() for _ in range(8)}) == 1


def test_the_outside_world_is_a_return_value(caller, engine, behind, dns):
    hole, refusing = behind(Blackhole), behind(Refusing)
    server = caller("""
        local function say(target, opts)
          local server, reason = zerg.connect(target, opts)
          conn:write(tostring(server), " ", reason, "\\n")
        end
        say(conn:reader():read_line())
        say("unix:/nowhere/at/all")
        say("app")
        say(TARGET, { connect_timeout = 0.1 })
        say("no-such-name.test:80")
    """, hole.target, resolver={"servers": dns.servers, "timeout": 0.5},
        upstreams={"app": {"servers": [refusing.target]}})
    server.log.allow("cannot look up")
    client = server.connect().send(refusing.target + "\n")
    assert client.line() == "nil refused"
    assert client.line() == "nil refused"
    assert client.line() == "nil refused"
    assert client.line() == "nil timeout"
    assert client.line().startswith("nil dns: ")


def test_reasons_of_calls_that_fail_together_are_not_mixed_up(caller, engine, behind):
    refusing = behind(Refusing)
    client = caller("""
        local function ask(target) return select(2, zerg.connect(target, { connect_timeout = 0.1 })) end
        local tasks = {}
        for i = 1, 20 do
          tasks[i] = zerg.spawn(ask, i % 2 == 0 and TARGET or "no-name-" .. i .. ".invalid:80")
        end
        for i = 1, 20 do
          local reason = tasks[i]:join()
          conn:write((i % 2 == 0) == (reason == "refused") and "." or "[" .. reason .. "]")
        end
        conn:write("\\n")
    """, refusing.target, resolver={"servers": ["127.0.0.1:1"], "timeout": 0.05, "attempts": 1}).connect()
    assert client.line() == "." * 20


@pytest.mark.parametrize("call, message", [
    ("zerg.connect(5)", 'expected an upstream\'s name or a target such as "db.internal:5432", got number'),
    ("zerg.connect('no port')", "expected an upstream's name or a target such as"),
    ("zerg.connect('a:1', 5)", "expected a table of options, got number"),
    ("zerg.connect('a:1', { colour = 1 })", "unknown option 'colour'"),
    ("zerg.connect('a:1', { connect_timeout = -1 })", "connect_timeout: expected seconds"),
    ("zerg.connect('a:1', { hash_key = 5 })", "hash_key: expected a string, got 5"),
    ("zerg.resolve(5)", "expected a host name, got 5"),
    ("zerg.resolve('not a name')", 'expected a host name, got "not a name"'),
    ("conn:keepalive()", "conn:keepalive: expected a connection of zerg.connect"),
    ("conn:keepalive('x')", "conn:keepalive: expected seconds, got string"),
    ("conn:forward(5)", "conn:forward: expected an upstream's name or a target"),
    ("conn:forward('no port')", "conn:forward: expected an upstream's name or a target"),
    ("conn:forward('no port', { filter = {} })", "conn:forward: expected an upstream's name or a target"),
    ("conn:forward(nil, { filter = {} })", "conn:forward: expected an upstream's name or a target"),
    ("conn:forward(conn)", "conn:forward: a connection cannot be forwarded to itself"),
    ("conn:forward(conn, { filter = {} })", "conn:forward: a connection cannot be forwarded to itself"),
    ("conn:forward('a:1', { filter = 5 })", "filter: expected a table with up or down, got 5"),
    ("conn:forward('a:1', { filter = { both = print } })", "filter: unknown direction 'both'"),
    ("conn:forward('a:1', { filter = { up = 5 } })", "filter.up: expected a function, got number"),
    ("conn:forward('a:1', { proxy_protocol = 3 })", "proxy_protocol: expected 0, 1 or 2, got 3"),
    ("conn:forward('a:1', { proxy_tlvs = { [256] = 'x' } })", "proxy_tlvs: expected strings by type"),
    ("conn:forward('a:1', { proxy_tlvs = { [5] = 'x' }, proxy_protocol = 1 })", "proxy_tlvs: fields that"),
    ("conn:forward('a:1', { proxy_tlvs = { [5] = ('x'):rep(5000) }, proxy_protocol = 2 })", "proxy_tlvs: 5003"),
    ("conn:relay(5, 1)", "conn:relay: expected a connection, got 5"),
    ("conn:relay(conn, -1)", "conn:relay: expected a count of bytes, got -1"),
    ("conn:relay(conn, 1.5)", "conn:relay: expected a count of bytes, got 1.5"),
    ("conn:close() conn:relay(conn, 1)", "conn:relay: used after close"),
    ("conn:close() conn:forward('a:1')", "conn:forward: used after close"),
    ("conn:close() conn:forward('a:1', { filter = {} })", "conn:forward: used after close"),
    ("conn:shutdown() conn:forward('a:1')", "conn:forward: the connection was shut down for writing"),
    ("conn:shutdown() conn:forward('a:1', { filter = {} })", "conn:forward: the connection was shut down for writing"),
    ("conn:shutdown() conn:relay(conn, 1)", "conn:relay: the connection was shut down for writing"),
])
def test_misuse_names_the_line_of_the_script(zerg, call, message):
    server = zerg(f"local ok, err = pcall(function()\n{call} return 0\nend)\nzerg.log.info('caught: ' .. tostring(err))")
    server.connect().expect_end()
    assert "handler.lua:4: " in server.log.wait("caught: .*" + message.replace("(", r"\(").replace(".", r"\."))


def test_outside_of_a_task_nothing_can_wait(zerg):
    server = zerg("conn:write(why, '\\n')", top="local _, why = pcall(zerg.connect, '127.0.0.1:1')")
    assert "cannot wait here" in server.connect().line()


def test_a_stop_hook_connects_to_nobody(zerg):
    files = {"handler.lua": """local zerg = require "zerg"
return { serve = function() end, stop = function()
  zerg.log.info("connect: " .. select(2, zerg.connect("127.0.0.1:1")))
  zerg.log.info("resolve: " .. select(2, zerg.resolve("localhost")))
end }
"""}
    server = zerg(files=files, reactors=1)
    server.wait_ready()
    server.stop()
    assert server.log.find("connect: shutdown") and server.log.find("resolve: shutdown")


def test_a_deadline_and_a_cancel_end_a_call(caller, engine, behind):
    hole = behind(Blackhole)
    client = caller("""
        conn:write(select(2, zerg.deadline(0.05, zerg.connect, TARGET)), "\\n")
        local task = zerg.spawn(zerg.connect, TARGET)
        zerg.sleep(0.02)
        task:cancel()
        conn:write(select(2, task:join()), "\\n")
    """, hole.target).connect()
    assert client.line() == "timeout"
    assert client.line() == "canceled"


# ---- lifetime ----


def test_a_connection_that_the_script_lost_is_closed(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        do local server = zerg.connect(TARGET) server:send("x") end
        for i = 1, 4 do collectgarbage() zerg.sleep(0) end
        conn:write("collected\\n")
        conn:read()
    """, backend.target).connect()
    upstream = backend.accept()
    assert client.line() == "collected"
    upstream.expect("x").expect_end()


def test_use_after_close_and_by_others(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        local server = zerg.connect(TARGET)
        local reading = zerg.spawn(function()
          local data, reason = server:read()
          local again = select(2, server:write("x"))
          return tostring(data) .. " " .. reason .. " " .. again
        end)
        zerg.sleep(0.01)
        server:close()
        server:close()
        server:abort()
        conn:write(reading:join(), "\\n")
        conn:write(select(2, pcall(server.write, server, "x")), "\\n")
        conn:write(select(2, pcall(server.keepalive, server)), "\\n")
    """, backend.target).connect()
    upstream = backend.accept()
    assert client.line() == "nil closed closed"
    assert "conn:write: used after close" in client.line()
    assert "conn:keepalive: used after close" in client.line()
    upstream.expect_end()


def test_a_park_that_could_not_yield_leaves_nothing_behind(caller, engine, behind):
    """What waits inside of a C function raises, and the script may catch that."""
    backend = behind(Backend)
    client = caller("""
        local function try(fn, ...)
          local args = { ... }
          return pcall(string.gsub, "x", "x", function() fn(unpack(args)) end)
        end
        local server = zerg.connect(TARGET)
        try(server.read, server)
        try(conn.relay, server, conn, 5)
        try(zerg.connect, TARGET)
        server:write("one\\n")
        conn:write(server:reader():read_line(), "\\n")
        try(server.read, server)
        server:close()
        local other = zerg.connect(TARGET)
        try(other.relay, other, conn, 5)
        other:abort()
        try(conn.forward, conn, TARGET)
        conn:write("done ", tostring(conn:reader():read_line()), "\\n")
    """, backend.target).connect()
    upstream = backend.accept().expect("one\n").send("1\n")
    assert client.line() == "1"
    client.send("more\n")
    assert client.line() == "done more"
    upstream.expect_end()


def test_on_close_of_an_outgoing_connection(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        local server = zerg.connect(TARGET)
        server:on_close(function(_, reason) conn:write("on_close ", reason, "\\n") end)
        conn:write("ready\\n")
        conn:read()
        local other = zerg.connect(TARGET)
        other:on_close(function(_, reason) conn:write("other ", reason, "\\n") end)
        other:close()
        conn:read()
    """, backend.target).connect()
    upstream = backend.accept()
    assert client.line() == "ready"
    upstream.reset()
    assert client.line() == "on_close reset"
    client.send("x")
    assert client.line() == "other closed"


# ---- keepalive ----

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


# ---- resolve ----


def test_resolve(caller, engine, dns):
    dns.host("two.test", "10.0.0.1", "10.0.0.2")
    client = caller("""
        for _, name in ipairs { "127.0.0.1", "::1", "two.test", "none.test" } do
          local addresses, reason = zerg.resolve(name)
          if addresses then table.sort(addresses) end
          conn:write(addresses and table.concat(addresses, " ") or "nil " .. reason, "\\n")
        end
    """, resolver={"servers": dns.servers, "timeout": 1}).connect()
    assert client.line() == "127.0.0.1"
    assert client.line() == "::1"
    assert client.line() == "10.0.0.1 10.0.0.2"
    assert client.line().startswith("nil dns: ")


# ---- the end of the server ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_connections_of_scripts_do_not_hold_the_server(zerg, engine, behind, number):
    talker, hole = behind(Talker, "x"), behind(Blackhole)
    files = {"handler.lua": f"""local zerg = require "zerg"
local kept = {{}}
return {{
  serve = function(conn)
    for i = 1, 3 do
      local server = zerg.connect("{talker.target}", {{ fresh = true }})
      server:reader():read_line()
      server:keepalive()
      kept[i] = zerg.connect("{talker.target}", {{ fresh = true }})
      zerg.spawn(function() kept[i]:reader():read_line() kept[i]:read() end)
      zerg.spawn(zerg.connect, "{hole.target}")
      zerg.spawn(zerg.resolve, "some.test")
    end
    zerg.every(0.01, function() zerg.connect("{hole.target}", {{ connect_timeout = 0.1 }}) end)
    zerg.spawn(function() zerg.connect("{talker.target}"):relay(kept[2], math.huge) end)
    zerg.spawn(function() zerg.connect("{talker.target}"):forward("{hole.target}") end)
    zerg.spawn(function() zerg.connect("{talker.target}"):forward("{talker.target}") end)
    conn:write("ready\\n")
    conn:read()
  end,
}}
"""}
    server = zerg(files=files, drain_timeout=20, resolver={"servers": [f"127.0.0.1:{free_port()}"]})
    server.may_punt = True
    client = server.connect()
    assert client.line() == "ready"
    client.close()
    server.stop(number)
    assert server.process.returncode == 0


def test_while_draining_a_handler_still_calls_others(caller, behind):
    talker = behind(Talker, "x")
    server = caller("""
        conn:write("ready\\n")
        conn:read() -- the client is gone after it
        conn:abort()
        zerg.sleep(0.2)
        local server = zerg.connect(TARGET)
        zerg.log.info("still served by " .. server:reader():read_line())
    """, talker.target, drain_timeout=20)
    client = server.connect()
    assert client.line() == "ready"
    server.send_signal(signal.SIGTERM)
    client.send("x").close()
    assert server.wait_exit() == 0
    assert server.log.find("still served by x")
