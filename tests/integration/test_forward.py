"""conn:forward: a handler looks at what comes and hands the connection on."""

import random
import threading

import pytest

from luatext import literal
from peer import PATIENCE, Backend, Blackhole, hash_of, pattern, until
from talkers import Refusing, Talker


@pytest.fixture
def forwarder(zerg):
    """Starts a server whose handler is `body`, with TARGET as a local and records of forwards in its log."""

    def start(body, target="", **options):
        server = zerg(body, top=f"local TARGET = {literal(target)}", log={"level": "debug"}, **options)
        return server.wait_listening()

    return start


SAY_RESULT = """
local function say(result, reason)
  if not result then return zerg.log.info("result: nil " .. reason) end
  zerg.log.info("result: %s %d %d %s %s", result.server, result.bytes_up, result.bytes_down,
                tostring(result.duration >= 0 and result.duration < 30), result.reason)
end
"""


def result_of(server):
    return server.log.wait("result: .*").split("result: ")[1].splitlines()[0]


# ---- bytes ----


def test_what_was_left_unread_goes_first(forwarder, engine, behind):
    backend = behind(Backend)
    client = forwarder("""
        local reader = conn:reader()
        assert(reader:read_line() == "SSH-2.0")
        conn:peek(12)
        local seq = reader:read()
        reader:advance(6, 12)
        conn:write("from zerg ")
        conn:forward(TARGET)
    """, backend.target).connect()
    client.send("SSH-2.0\nread, unread")
    client.send(" and more")
    upstream = backend.accept().expect("unread and more").send("from upstream")
    client.expect("from zerg from upstream")
    client.half_close()
    upstream.expect_end()
    upstream.close()
    client.expect_end()


def test_streams_are_exact_both_ways(forwarder, engine, behind):
    backend = behind(Backend)
    server = forwarder("local word = conn:reader():read_exactly(5) conn:write(word) conn:forward(TARGET)",
                       backend.target)
    for seed in range(2):
        client = server.connect().ask("hello")
        upstream = backend.accept()
        up, down = pattern(3_000_000, f"u{seed}"), pattern(2_000_000, f"d{seed}")
        senders = [client.send_in_background(up), upstream.send_in_background(down)]
        got = {}
        readers = [threading.Thread(target=lambda n, p, c: got.update({n: p.receive_hash(c)}), args=args)
                   for args in (("up", upstream, len(up)), ("down", client, len(down)))]
        for thread in readers:
            thread.start()
        for thread in readers + senders:
            thread.join(PATIENCE * 2)
        assert got == {"up": hash_of(up), "down": hash_of(down)}
        client.half_close()
        upstream.expect_end()
        upstream.close()
        client.expect_end()


def test_the_server_may_speak_first(forwarder, engine, behind):
    talker = behind(Talker, "220 hello")
    with forwarder("conn:forward(TARGET)", talker.target).connect() as client:
        assert client.line() == "220 hello"
        client.ask("x")


def test_a_client_that_has_ended_its_stream_gets_its_answer(forwarder, engine, behind):
    backend = behind(Backend)
    server = forwarder("while conn:wait() and conn.reason == nil do zerg.sleep(0) end conn:forward(TARGET)",
                       backend.target)
    client = server.connect().send("question").half_close()
    upstream = backend.accept()
    assert upstream.rest() == b"question"
    upstream.send("answer").close()
    assert client.rest() == b"answer"


# ---- where to ----


def test_targets_of_all_kinds(forwarder, engine, behind, tmp_path, dns):
    path = str(tmp_path / "sock")
    unix, v6, v4 = behind(Backend, path), behind(Backend, ("::1", 0)), behind(Backend)
    dns.host("db.test", "127.0.0.1")
    dns.service("_db._tcp.test", (1, 1, v4.port, "db.test"))
    server = forwarder("conn:forward(conn:reader():read_line())", upstreams={"app": {"servers": [v4.target]}},
                       resolver={"servers": dns.servers})
    rows = [(unix.target, unix), (v6.target, v6), (v4.target, v4), ("app", v4), (f"db.test:{v4.port}", v4),
            ("srv:_db._tcp.test", v4)]
    for target, backend in rows:
        client = server.connect().send(target + "\nrest")
        upstream = backend.accept().expect("rest").send("ok")
        client.expect("ok")
        client.close()
        upstream.expect_end()
        upstream.close()
    servers = {(row.upstream, row.server) for row in server.log.sessions(len(rows))}
    assert ("app", v4.target) in servers


@pytest.mark.parametrize("kind", ["accepted", "connected"])
@pytest.mark.parametrize("filtered", ["", "{ filter = { up = function(data) return data end } }"], ids=["c", "filter"])
def test_to_another_connection(forwarder, engine, behind, kind, filtered):
    """As a broker does it: two who meet. What both have unread goes first."""
    backend = behind(Backend)
    server = forwarder(SAY_RESULT + """
        local KIND = conn:reader():read_line()
        if KIND == "connected" then
          local server = zerg.connect(TARGET)
          server:wait()
          say(conn:forward(server%s))
        elseif WAITING then
          local first = WAITING
          WAITING = nil
          say(conn:forward(first.conn%s))
          first.is_over = true
        else
          local me = { conn = conn }
          WAITING = me
          while not me.is_over do zerg.sleep(0.01) end -- whoever returns closes
        end
    """ % ((", " + filtered,) * 2 if filtered else ("", "")), backend.target, reactors=1)
    if kind == "connected":
        client = server.connect().send("connected\nfirst")
        other = backend.accept().send("early")
    else:
        other = server.connect().send("accepted\nearly")
        server.log.wait("ready")
        client = until(lambda: server.connect(), "") .send("accepted\nfirst")
    client.expect("early")
    other.expect("first")
    client.send("more")
    other.expect("more").send("back").half_close()
    client.expect("back").expect_end()
    client.half_close()
    other.expect_end()
    result = result_of(server).split()
    assert result[1:] == ["9", "9", "true", "closed"]
    assert server.log.sessions(1)[0].end == "--"


def test_the_header_of_the_proxy_protocol(forwarder, engine, behind):
    backend = behind(Backend)
    server = forwarder("""
        conn:forward(TARGET, { proxy_protocol = tonumber(conn:reader():read_line()),
          proxy_tlvs = PROXY_FIELDS })
    """, backend.target)
    client = server.connect().send("1\nhello")
    host, port = client.name
    backend.accept().expect(f"PROXY TCP4 127.0.0.1 {host} {port} {server.port}\r\n".replace(
        f"127.0.0.1 {host} {port}", f"{host} 127.0.0.1 {port}")).expect("hello")
    client = server.connect().send("0\nhello")
    backend.accept().expect("hello")
    client = server.connect().send("2\nhello")
    backend.accept().expect(b"\r\n\r\n\0\r\nQUIT\n\x21\x11").receive(14 + 5)


@pytest.mark.parametrize("filtered", ["", ", filter = { up = function(data) return data end }"], ids=["c", "filter"])
def test_fields_of_ones_own_in_the_header(forwarder, engine, behind, filtered):
    backend = behind(Backend)
    server = forwarder(f"""
        conn:forward(TARGET, {{ proxy_protocol = 2, proxy_tlvs = {{ [0xe1] = "two", [0xe0] = "one" }} {filtered} }})
    """, backend.target)
    client = server.connect().send("hello")
    upstream = backend.accept()
    head = upstream.receive(16)
    assert head[:14] == b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
    rest = upstream.receive(int.from_bytes(head[14:], "big"))
    assert rest[12:] == b"\xe0\0\3one\xe1\0\3two"
    upstream.expect("hello").send("ok")
    client.expect("ok")


@pytest.mark.parametrize("filtered", ["", ", filter = { down = function(data) return data end }"], ids=["c", "filter"])
def test_a_hashing_upstream_goes_by_the_key_or_the_client(forwarder, engine, behind, filtered):
    talkers = [behind(Talker, name) for name in "abcd"]
    server = forwarder(f"""
        local key = conn:reader():read_line()
        conn:forward("app", {{ hash_key = key ~= "" and key or nil {filtered} }})
    """, upstreams={"app": {"servers": [talker.target for talker in talkers], "balance": "hash"}})
    by_key = {}
    for number in range(24):
        with server.connect().send(f"key {number % 8}\n") as client:
            by_key.setdefault(number % 8, set()).add(client.line())
    assert all(len(names) == 1 for names in by_key.values())
    assert len(set.union(*by_key.values())) > 1
    by_client = {}
    for number in range(24):
        source = f"127.0.0.{number % 8 + 2}"
        with server.connect(source=source).send("\n") as client:
            by_client.setdefault(source, set()).add(client.line())
    assert all(len(names) == 1 for names in by_client.values())
    assert len(set.union(*by_client.values())) > 1


# ---- the outside world ----


@pytest.mark.parametrize("filtered", ["", "filter = { up = function(data) return data end }"], ids=["c", "filter"])
def test_when_no_server_is_reached_the_script_answers(forwarder, engine, behind, filtered):
    refusing, hole = behind(Refusing), behind(Blackhole)
    server = forwarder(f"""
        local reader = conn:reader()
        conn:write(select(2, conn:forward("{refusing.target}", {{ {filtered} }})), "\\n")
        conn:write(select(2, conn:forward(TARGET, {{ connect_timeout = 0.1, {filtered} }})), "\\n")
        conn:write(select(2, conn:forward(TARGET, {{ total_timeout = 0.1, {filtered} }})), "\\n")
        conn:write("unread: ", reader:read_line(), "\\n")
    """, hole.target)
    client = server.connect().send("still here\n")
    assert [client.line() for _ in range(4)] == ["refused", "timeout", "timeout", "unread: still here"]
    client.expect_end()


def test_a_client_that_leaves_while_a_server_is_looked_for(forwarder, engine, behind):
    hole = behind(Blackhole)
    server = forwarder(SAY_RESULT + "say(conn:forward(TARGET))", hole.target)
    client = server.connect()
    server.log.wait("ready")
    client.reset()
    assert result_of(server) == "nil reset"


@pytest.mark.parametrize("filtered", ["", ", filter = { up = function(data) return data end }"], ids=["c", "filter"])
@pytest.mark.parametrize("options, reason, end", [("idle_timeout = 0.1", "timeout", "cs"),
                                                  ("total_timeout = 0.1", "timeout", "P")])
def test_time_outs(forwarder, engine, behind, filtered, options, reason, end):
    backend = behind(Backend)
    server = forwarder(SAY_RESULT + f"say(conn:forward(TARGET, {{ {options} {filtered} }}))", backend.target)
    client = server.connect().send("x")
    upstream = backend.accept().expect("x").send("yy")
    client.expect("yy")
    assert result_of(server) == f"{backend.target} 1 2 true {reason}"
    assert server.log.sessions(1)[0].end[0] in end


@pytest.mark.parametrize("filtered", ["", ", { filter = { up = function(data) return data end } }",
                                      ", { filter = { down = function(data) return data end } }"],
                         ids=["c", "up", "down"])
@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_passed_on_behind_the_bytes_before_it(forwarder, engine, behind, filtered, who):
    backend = behind(Backend)
    server = forwarder(SAY_RESULT + f"say(conn:forward(TARGET{filtered}))", backend.target)
    client = server.connect().send("to server")
    upstream = backend.accept().expect("to server").send("to client")
    client.expect("to client")
    first, second = (client, upstream) if who == "client" else (upstream, client)
    first.reset()
    second.expect_reset()
    assert result_of(server) == f"{backend.target} 9 9 true reset"
    assert server.log.sessions(1)[0].end == {"client": "CD", "server": "SD"}[who]


# ---- who may do what meanwhile ----


def test_others_use_of_a_connection_that_is_being_forwarded(forwarder, engine, behind):
    backend, hole = behind(Backend), behind(Blackhole)
    server = forwarder("""
        local function tell(what, fn, ...)
          local ok, a, b = pcall(fn, ...)
          zerg.log.info("tell %s: %s", what, tostring(ok and (b or a) or a))
        end
        zerg.spawn(function()
          zerg.sleep(0.02)
          tell("read early", conn.read, conn)
          tell("relay early", conn.relay, conn, conn, 5)
          tell("forward early", conn.forward, conn, TARGET)
          tell("write early", conn.write, conn, "staged before ")
          OTHER = zerg.connect(TARGET)
          tell("relay to it early", OTHER.relay, OTHER, conn, 5)
        end)
        conn:forward(HOLE, { connect_timeout = 0.2 })
        zerg.spawn(function()
          while conn.bytes_out < 19 do zerg.sleep(0.005) end
          for _, name in ipairs { "read", "wait", "peek", "next_view", "write", "flush", "send", "shutdown", "forward",
                                  "keepalive", "timeout", "on_close" } do
            local values = { forward = TARGET, write = "x", send = "x", timeout = {}, on_close = print }
            tell(name, conn[name], conn, values[name])
          end
          tell("relay", conn.relay, conn, OTHER, 5)
          tell("reason", function() return conn.reason end)
          conn:close()
        end)
        conn:forward(TARGET)
        tell("afterwards", conn.write, conn, "x")
    """.replace("HOLE", literal(hole.target)), backend.target)
    client = server.connect()
    other, upstream = backend.accept(), backend.accept()
    other.send("12345")
    upstream.send("hello")
    client.expect("staged before hello")
    upstream.expect_end()
    being = "the connection is being forwarded"
    for what in ("read early", "relay early", "forward early", "relay to it early", "read", "wait", "peek", "next_view",
                 "write", "flush", "send", "shutdown", "forward", "keepalive", "timeout", "on_close", "relay"):
        assert server.log.wait(f"tell {what}: .*").endswith(being), what
    assert server.log.wait("tell reason: .*").endswith("nil")
    assert server.log.wait("tell afterwards: .*").endswith("closed")


def test_a_reader_elsewhere_is_an_error_and_a_writer_is_told(forwarder, engine, behind):
    backend = behind(Backend)
    server = forwarder("""
        local reading = zerg.spawn(function() return conn:reader():read_line() end)
        zerg.sleep(0.01)
        zerg.log.info("tell 1: %s", select(2, pcall(conn.forward, conn, TARGET)))
        zerg.log.info("tell 2: %s", select(2, pcall(conn.forward, conn, TARGET, { filter = {} })))
        zerg.log.info("tell 3: %s", select(2, pcall(conn.relay, conn, conn, 1)))
        conn:write("next\\n")
        reading:join()
        local writing = zerg.spawn(function() return pcall(conn.send, conn, ("x"):rep(8e6)) end)
        zerg.sleep(0.05)
        zerg.spawn(function()
          zerg.sleep(0.05)
          local _, err = writing:join()
          zerg.log.info("tell 4: %s", err)
        end)
        conn:forward(TARGET)
    """, backend.target)
    client = server.connect(receive_buffer=4096)
    for number in (1, 2, 3):
        assert server.log.wait(f"tell {number}: .*").endswith("another coroutine is reading this connection")
    assert client.line() == "next"
    client.send("go\n")
    upstream = backend.accept().send("end")
    assert server.log.wait("tell 4: .*").endswith("the connection is being forwarded")
    assert client.receive(8_000_000 + 3) == b"x" * 8_000_000 + b"end"
    upstream.close()


def test_a_deadline_and_a_cancel_cut_a_forward(forwarder, engine, behind):
    backend, hole = behind(Backend), behind(Blackhole)
    server = forwarder("""
        local way = conn:reader():read_line()
        local opts = way:find("filter") and { filter = { up = function(data) return data end } } or nil
        local target = way:find("dial") and HOLE or TARGET
        if way:find("deadline") then
          zerg.log.info("tell: %s", select(2, zerg.deadline(0.1, conn.forward, conn, target, opts)))
        else
          local task = zerg.spawn(conn.forward, conn, target, opts)
          zerg.sleep(0.1)
          task:cancel()
          zerg.log.info("tell: %s", select(2, task:join()))
        end
        local _, reason = conn:write("x")
        zerg.log.info("tell %s: %s", way, tostring(reason))
    """.replace("HOLE", literal(hole.target)), backend.target)
    for way in ("deadline", "cancel", "deadline filter", "cancel filter"):
        client = server.connect().send(way + "\n")
        upstream = backend.accept()
        upstream.expect_reset()
        client.expect_reset()
        server.log.wait(f"tell {way}: (closed|aborted)")
    for way in ("deadline dial", "cancel dial", "deadline dial filter", "cancel dial filter"):
        client = server.connect().send(way + "\n")
        client.expect("x").expect_end()


@pytest.mark.parametrize("stage", ["dial", "relay"])
def test_a_handler_that_ends_while_another_task_forwards(forwarder, engine, behind, stage):
    server_behind = behind(Blackhole if stage == "dial" else Backend)
    server = forwarder("""
        zerg.spawn(function()
          local result, reason = conn:forward(TARGET)
          zerg.log.info("tell: %s", reason or result.reason)
        end)
        zerg.sleep(0.1)
    """, server_behind.target)
    client = server.connect()
    if stage == "relay":
        server_behind.accept().expect_end()
    client.expect_end()
    assert server.log.wait("tell: .*").endswith("closed")


def test_many_at_once_in_all_kinds_of_ways(forwarder, engine, behind):
    """Clients that come, talk and leave as they like, over handlers that forward as they like: everything comes back."""
    talkers = [behind(Talker, name) for name in "ab"]
    server = forwarder("""
        local way = tostring(conn:reader():read_line())
        local same = function(data) return data end
        local options = ({ c = {}, up = { filter = { up = same } }, down = { filter = { down = same } },
                           both = { filter = { up = same, down = same } } })[way] or {}
        conn:forward("app", options)
    """, upstreams={"app": {"servers": [talker.target for talker in talkers]}})
    chance = random.Random(7)
    for _ in range(60):
        with server.connect() as client:
            client.send(chance.choice(["c", "up", "down", "both"]) + "\n")
            assert client.line() in "ab"
            data = pattern(chance.randrange(1, 300_000), chance.random())
            sender = client.send_in_background(data)
            assert client.receive(len(data)) == data
            sender.join(PATIENCE)
            chance.choice([client.close, client.reset, lambda c=client: c.half_close().rest()])()
