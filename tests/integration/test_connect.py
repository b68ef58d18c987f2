"""zerg.connect and zerg.resolve: a handler that calls other servers."""

import signal

import pytest

from harness import free_port
from peer import Backend, Blackhole
from talkers import Refusing, Talker


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
