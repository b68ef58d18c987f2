"""conn:forward with filters: functions of the script see, change and drop what goes through."""

import re

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
        server.may_punt = True
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
