"""conn:forward with filters: functions of the script see, change and drop what goes through."""

import re
import signal

import pytest

from luatext import literal
from peer import PATIENCE, Backend, hash_of, pattern
from talkers import Talker


@pytest.fixture
def filtering(zerg):
    """Starts a server that forwards to TARGET with the filter that `filters` is, after `before`."""

    def start(filters, target, before="", after="", options=""):
        server = zerg(f"""
            {before}
            local result = conn:forward(TARGET, {{ filter = {filters}, {options} }})
            zerg.log.info("result: %s %d %d %s", result.server, result.bytes_up, result.bytes_down, result.reason)
            {after}
        """, top=f"local TARGET = {literal(target)}", log={"level": "debug"})
        return server.wait_listening()

    return start


SAME = "function(data) return data end"


@pytest.mark.parametrize("filters", [f"{{ up = {SAME} }}", f"{{ down = {SAME} }}", f"{{ up = {SAME}, down = {SAME} }}",
                                     "{}"])
def test_what_comes_back_as_it_is_goes_on_byte_by_byte(filtering, engine, behind, filters):
    backend = behind(Backend)
    server = filtering(filters, backend.target)
    client = server.connect()
    upstream = backend.accept()
    up, down = pattern(3_000_000, "up"), pattern(2_000_000, "down")
    senders = [client.send_in_background(up), upstream.send_in_background(down)]
    assert upstream.receive_hash(len(up)) == hash_of(up)
    assert client.receive_hash(len(down)) == hash_of(down)
    for sender in senders:
        sender.join(PATIENCE)
    upstream.half_close()
    client.expect_end()
    client.half_close()
    upstream.expect_end()
    assert server.log.wait("result: .*").endswith(f"{backend.target} 3000000 2000000 closed")
    record = server.log.sessions(1)[0]
    assert (record.bytes_up, record.bytes_down, record.end) == (3_000_000, 2_000_000, "--")


@pytest.mark.parametrize("body, expected", [
    ("return tostring(data):upper()", "HELLO WORLD"),
    ("return nil", ""),
    ("return data:slice(7)", "world"),
    ("for view in data:views() do return view end", "hello world"),
    ("return ''", ""),
    ("return data:slice(1, 0)", ""),
    ("return 42", "42"),
])
def test_what_a_filter_may_return(filtering, engine, behind, body, expected):
    backend = behind(Backend)
    client = filtering(f"{{ up = function(data) {body} end }}", backend.target).connect()
    upstream = backend.accept()
    client.send("hello world").half_close()
    assert upstream.rest() == expected.encode()
    upstream.close()


def test_a_filter_may_wait_and_sees_what_was_left_unread(filtering, engine, behind):
    backend = behind(Backend)
    client = filtering("{ up = function(data) zerg.sleep(0.02) return '<' .. data .. '>' end }", backend.target,
                       before="assert(conn:reader():read_line() == 'head') conn:write('from zerg ')").connect()
    client.send("head\nbody")
    upstream = backend.accept().expect("<body>").send("answer")
    client.expect("from zerg answer")


@pytest.mark.parametrize("which", ["up", "down"])
@pytest.mark.parametrize("fault, message", [
    ("error('boom')", r"handler\.lua:\d+: boom"),
    ("return {}", r"conn:forward: filter\.%s: expected a sequence, view, string or nil, got table"),
    ("data:retain() data:release() return data", r"conn:forward: filter\.%s: view used after release"),
])
def test_a_filter_that_fails_cuts_both_ends_and_is_logged_once(filtering, engine, behind, which, fault, message):
    backend = behind(Backend)
    server = filtering(f"{{ {which} = function(data) {fault} end }}", backend.target)
    client = server.connect()
    upstream = backend.accept()
    (client if which == "up" else upstream).send("x")
    client.expect_reset()
    upstream.expect_reset()
    entry = server.log.expect(message % which if "%s" in message else message)
    assert re.search(r"conn \d+ from .*stack traceback", entry, re.S)
    assert server.log.sessions(1)[0].end == "ID"


def test_the_script_may_catch_what_a_filter_raises(filtering, engine, behind):
    backend = behind(Backend)
    server = filtering("{}", backend.target, before="""
        local ok, err = pcall(conn.forward, conn, TARGET, { filter = { up = function() error({ code = 7 }) end } })
        zerg.log.info("caught: %s %d", tostring(ok), err.code)
        if true then return end
    """)
    client = server.connect().send("x")
    backend.accept().expect_reset()
    assert server.log.wait("caught: .*").endswith("false 7")
    client.expect_reset()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_slow_side_holds_the_other_back(filtering, engine, behind, way):
    backend = behind(Backend)
    client = filtering(f"{{ {way} = {SAME} }}", backend.target).connect()
    upstream = backend.accept()
    source, sink = (client, upstream) if way == "up" else (upstream, client)
    sent = source.send_until_blocked(60_000_000)
    assert sent < 60_000_000
    source.half_close()
    assert len(sink.rest()) == sent


def test_half_close_goes_through_either_way(filtering, engine, behind):
    talker = behind(Talker, "hello")
    server = filtering(f"{{ up = {SAME}, down = {SAME} }}", talker.target)
    client = server.connect()
    assert client.line() == "hello"
    client.send("question").half_close()
    assert client.rest() == b"question"


def test_after_it_the_connection_is_closed(filtering, engine, behind):
    talker = behind(Talker, "hello")
    server = filtering(f"{{ up = {SAME} }}", talker.target, after="""
        local _, reason = conn:write("x")
        zerg.log.info("afterwards: %s", reason)
        zerg.sleep(0.5)
    """)
    client = server.connect().half_close()
    assert client.rest() == b"hello\n"
    assert server.log.wait("afterwards: .*").endswith("closed")


def test_a_read_timeout_of_the_listener_does_not_end_it(filtering, engine, behind):
    backend = behind(Backend)
    client = filtering(f"{{ up = {SAME} }}", backend.target, before="conn:timeout{ read = 0.05 }").connect()
    upstream = backend.accept()
    client.expect_silence(0.3)
    client.send("late")
    upstream.expect("late")


def test_a_watched_server_of_the_scripts_own_is_ended_once(filtering, engine, behind):
    """What was said of its end comes when the forward has ended: it is let go of in that same turn."""
    backend = behind(Backend)
    server = filtering("{}", backend.target, before="""
        local server = zerg.connect(TARGET)
        server:on_close(function(_, reason) zerg.log.info("seen: %s", reason) end)
        local ok, err = pcall(conn.forward, conn, server, { filter = { up = function() error("boom") end } })
        zerg.log.info("caught: %s", err)
        if true then return end
    """)
    client = server.connect().send("x")
    backend.accept()
    client.expect_reset()
    assert server.log.wait("caught: .*").endswith("boom")
    server.log.wait("seen: .*")


# ---- when it breaks while a filter waits ----


SLOW = "function(data) zerg.sleep(0.3) zerg.log.info('held: %s', data) return data end"


def reset_client(client, _upstream):
    client.reset()


def reset_server(_client, upstream):
    upstream.reset()


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("breaks, reason", [(reset_client, "reset"), (reset_server, "reset"), (None, "timeout")])
def test_what_a_filter_holds_stays_valid_when_the_forward_breaks(filtering, engine, behind, way, breaks, reason):
    backend = behind(Backend)
    server = filtering(f"{{ {way} = {SLOW} }}", backend.target, options="total_timeout = 0.15" if not breaks else "")
    client = server.connect()
    upstream = backend.accept()
    (client if way == "up" else upstream).send("data")
    if breaks:
        client.expect_silence(0.05)
        breaks(client, upstream)
    assert server.log.wait("held: .*").endswith("held: data")
    assert server.log.wait("result: .*").endswith(reason)


@pytest.mark.parametrize("filters", [f"{{ down = {SLOW} }}", f"{{ up = {SAME}, down = {SLOW} }}"])
def test_what_a_server_sent_before_its_reset_goes_on(filtering, engine, behind, filters):
    backend = behind(Backend)
    server = filtering(filters, backend.target)
    client = server.connect()
    upstream = backend.accept().send("first")
    client.expect_silence(0.05)
    upstream.send(" second")
    client.expect_silence(0.05)
    upstream.reset()
    client.expect("first second")
    client.expect_reset()
    assert server.log.wait("result: .*").endswith("0 12 reset")


def test_what_a_client_sent_before_its_reset_goes_on(filtering, engine, behind):
    backend = behind(Backend)
    client = filtering(f"{{ up = {SLOW} }}", backend.target).connect().send("first")
    upstream = backend.accept()
    client.expect_silence(0.05)
    client.send(" second")
    client.expect_silence(0.05)
    client.reset()
    upstream.expect("first second")
    upstream.expect_reset()


def test_a_total_timeout_ends_what_a_broken_side_left(filtering, engine, behind):
    backend = behind(Backend)
    server = filtering("{ down = function(data) zerg.sleep(0.6) return data end }", backend.target,
                       options="total_timeout = 0.2")
    client = server.connect()
    backend.accept().send("never").reset()
    client.expect_reset()
    assert server.log.wait("result: .*").endswith("0 5 reset")


# ---- the connections are the filters' alone ----


@pytest.mark.parametrize("call", [
    "read()", "wait()", "peek()", "next_view()", "write('x')", "send('x')", "flush()", "reserve(5)", "shutdown()",
    "timeout({ read = 5 })", "on_close(print)", "forward('a:1')", "forward('a:1', { filter = {} })", "relay(conn, 5)",
])
def test_any_other_use_of_either_raises(filtering, engine, behind, call):
    backend = behind(Backend)
    server = filtering("{ up = function(data) return tries(conn, server) .. data end }", backend.target, before=f"""
        local server = zerg.connect(TARGET)
        TARGET = server
        local function try(conn)
          return (select(2, pcall(function() return conn:{call} end)):gsub(".*: ", ""))
        end
        function tries(...)
          local said = {{}}
          for index, conn in ipairs({{ ... }}) do
            said[index] = try(conn)
            said[index + 2] = zerg.spawn(try, conn):join()
          end
          return table.concat(said, "\\n") .. "\\n"
        end
    """)
    client = server.connect().send("goes on")
    upstream = backend.accept()
    for _ in range(4):
        assert upstream.line() == "the connection is being forwarded"
    upstream.expect("goes on").send("back")
    client.expect("back")


def test_nor_can_it_be_given_back_to_the_pool(filtering, engine, behind):
    backend = behind(Backend)
    server = filtering("{ up = function(data) return select(2, pcall(TARGET.keepalive, TARGET)) end }", backend.target,
                       before="TARGET = zerg.connect(TARGET)")
    server.connect().send("x")
    backend.accept().expect("conn:keepalive: the connection is being forwarded")


@pytest.mark.parametrize("which", ["conn", "TARGET"])
@pytest.mark.parametrize("call, reason", [("abort", "aborted"), ("close", "closed")])
@pytest.mark.parametrize("by", ["another", "filter"])
def test_either_may_be_ended_by_others(filtering, engine, behind, which, call, reason, by):
    backend = behind(Backend)
    calls = f"{which}:{call}()"
    if by == "another":
        calls = f"zerg.spawn(function() {calls} end) zerg.sleep(0.05)"
    server = filtering(f"{{ up = function(data) {calls} return data end }}", backend.target,
                       before="TARGET = zerg.connect(TARGET)")
    client = server.connect().send("x")
    upstream = backend.accept()
    if call == "abort":
        client.expect_reset()
        upstream.expect_reset()
    assert server.log.wait("result: .*").endswith(reason)
    if call == "abort":
        assert server.log.sessions(1)[0].end == "KD"


# ---- when the server stops ----


@pytest.mark.parametrize("filters", [f"{{ up = {SAME}, down = {SAME} }}", f"{{ up = {SAME} }}", f"{{ down = {SAME} }}"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_cuts_it_and_leaves_its_record(zerg, engine, behind, filters, number):
    backend = behind(Backend)
    server = zerg(f"conn:forward('{backend.target}', {{ filter = {filters} }})", drain_timeout=0.2,
                  log={"level": "debug"})
    server.log.allow("drain")
    client = server.wait_listening().connect().send("to")
    upstream = backend.accept().expect("to").send("from")
    client.expect("from")
    server.send_signal(number)
    client.expect_reset()
    upstream.expect_reset()
    assert server.wait_exit() == 0
    record = server.log.sessions(1)[0]
    assert (record.upstream, record.server, record.bytes_up, record.bytes_down, record.end) == (
        backend.target, backend.target, 2, 4, "KD")


def test_its_client_may_end_before_it(filtering, engine, behind):
    """The handler returns while another task forwards its connection."""
    backend = behind(Backend)
    server = filtering("{}", backend.target, before=f"""
        zerg.spawn(function()
          local result = conn:forward(TARGET, {{ filter = {{ up = {SAME} }} }})
          zerg.log.info("result: %d %s", result.bytes_up, result.reason)
        end)
        zerg.sleep(0.2)
        if true then return end
    """)
    client = server.connect().send("x")
    backend.accept().expect("x").expect_end()
    client.expect_end()
    assert server.log.wait("result: .*").endswith("1 closed")
    assert server.log.sessions(1)[0].bytes_up == 1
