"""Upstreams whose servers fail in every way: who gets the connection, how it ends, and what the record of it says."""

import contextlib
import random
import time
from collections import Counter

import pytest

from harness import free_port, run_tool
from peer import PATIENCE, SCALE, Backend, Blackhole, hash_of, pattern, until
from talkers import Refusing, Talker, Visitor, expect_reset, is_shared, several, who

ENDS = {"--", "CD", "SD", "cD", "sD", "CL", "cL", "SC", "sC", "CC", "sQ"}
RINGS = [pytest.param({"incremental": False}, id="plain"), pytest.param({"incremental": True}, id="incremental")]


@pytest.fixture(params=RINGS)
def ring(request):
    return request.param


# ---- records ----


def test_a_record_says_what_was_moved(forward_to, behind, ring):
    backend = behind(Backend)
    server = forward_to(backend.target, ring=ring)
    client = server.connect(source="127.0.0.7")
    upstream = backend.accept()
    client.send_in_background(pattern(300_000))
    upstream.receive(300_000)
    upstream.send("thanks")
    client.expect("thanks")
    time.sleep(0.05)  # so that there is a time to look at
    client.half_close()
    upstream.expect_end()
    upstream.send("bye").close()
    assert client.rest() == b"bye"
    (session,) = server.log.sessions(1)
    assert session.client == f"127.0.0.7:{client.name[1]}"
    assert (session.listener, session.server) == ("front", backend.target)
    assert (session.bytes_up, session.bytes_down, session.end) == (300_000, 9, "--")
    assert 0 <= session.connect_ms <= session.total_ms and session.total_ms >= 50


def test_every_connection_has_one_record(forward_to, behind):
    server = forward_to(behind(Talker, "a").target, reactors=2)
    for _ in range(50):
        assert who(server) == "a"
    sessions = server.log.sessions(50)
    assert len({session.client for session in sessions}) == 50
    assert {session.bytes_down for session in sessions} == {2}


@pytest.mark.parametrize("first, end", [("client", "CD"), ("server", "SD")])
def test_a_reset_in_the_middle_of_a_stream(forward_to, behind, ring, first, end):
    backend = behind(Backend)
    server = forward_to(backend.target, ring=ring)
    client = server.connect()
    upstream = backend.accept()
    one, other = (client, upstream) if first == "client" else (upstream, client)
    sending = other.send_in_background(pattern(20_000_000))
    one.receive(100_000)
    one.reset()
    sending.join(PATIENCE)
    assert not sending.is_alive()
    assert server.log.sessions(1)[0].end == end


@pytest.mark.parametrize("first, end", [("client", "CD"), ("server", "SD")])
def test_a_reset_of_a_quiet_connection(forward_to, behind, first, end):
    backend = behind(Backend)
    server = forward_to(backend.target)
    client = server.connect().send("x")
    upstream = backend.accept().expect("x")
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.reset()
    other.expect_reset()
    assert server.log.sessions(1)[0].end == end


@pytest.mark.parametrize("slow, end", [("client", "cD"), ("server", "sD")])
def test_a_side_that_stalls_reading(forward_to, behind, ring, slow, end):
    backend = behind(Backend)
    server = forward_to(backend.target, ring=ring, listener={"timeouts": {"write": 0.5}})
    client = server.connect()
    upstream = backend.accept()
    sender = client if slow == "server" else upstream
    sending = sender.send_in_background(pattern(60_000_000))
    sending.join(PATIENCE)
    assert not sending.is_alive()
    assert server.log.sessions(1)[0].end == end


@pytest.mark.parametrize("timeout, ends", [("idle", ("cD", "sD")), ("total", ("PD",))])
def test_a_connection_that_takes_too_long(forward_to, behind, timeout, ends):
    server = forward_to(behind(Talker, "a").target, listener={"timeouts": {timeout: 0.3}})
    client = server.connect()
    assert client.line() == "a"
    with contextlib.suppress(ConnectionResetError):
        assert client.rest() == b""
    assert server.log.sessions(1)[0].end in ends


# ---- connecting ----


def test_the_next_server_is_tried(forward_to, behind, ring):
    server = forward_to(behind(Refusing).target, behind(Talker, "b").target, ring=ring, retries=1, max_fails=0)
    assert several(server) == {"b": 10}
    sessions = server.log.sessions(10)
    assert {session.end for session in sessions} <= {"--", "CD"}


def test_as_many_servers_are_tried_as_retries_say(forward_to, behind):
    """Of two that refuse and one that does not, one retry does not always find the right one, two do."""
    targets = [behind(Refusing).target, behind(Refusing).target, behind(Talker, "c").target]
    assert set(several(forward_to(*targets, retries=1, max_fails=0), 12)) == {"c", None}
    assert several(forward_to(*targets, retries=2, max_fails=0), 12) == {"c": 12}


def test_nobody_is_there(forward_to, behind):
    server = forward_to(behind(Refusing).target, behind(Refusing).target)
    for _ in range(3):
        expect_reset(server)
    for session in server.log.sessions(3):
        assert (session.end, session.bytes_up, session.bytes_down) == ("SC", 0, 0)


def test_a_server_that_does_not_answer(forward_to, behind, ring):
    hole = behind(Blackhole)
    server = forward_to(hole.target, ring=ring, connect_timeout=0.3, retries=0)
    server.connect().send("hello?").expect_reset()
    (session,) = server.log.sessions(1)
    assert session.end == "sC"
    assert 290 <= session.total_ms < 300 + 1000 * PATIENCE


def test_the_next_server_is_tried_after_a_time_out(forward_to, behind):
    server = forward_to(behind(Blackhole).target, behind(Talker, "b").target, connect_timeout=0.3,
                        max_fails=0)
    assert several(server, 4) == {"b": 4}


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_client_that_leaves_while_connecting(forward_to, behind, how):
    server = forward_to(behind(Blackhole).target, connect_timeout=60, retries=0)
    before = server.descriptors()
    clients = server.connect_many(5)
    until(lambda: server.descriptors() == before + 10, f"ten more descriptors than {before}")
    for client in clients:
        client.reset() if how == "reset" else client.close()
    until(lambda: server.descriptors() == before, f"as many descriptors as {before}")
    assert [session.end for session in server.log.sessions(5)] == ["CC"] * 5


# ---- servers that die, come back, flap ----


def test_a_dead_server_is_left_out_and_used_again(forward_to, behind):
    """After max_fails it gets no connection for fail_timeout, although it is there again; then one tries it."""
    a, b = behind(Talker, "a"), behind(Talker, "b")
    fail_timeout = 1.5 * SCALE
    server = forward_to(a.target, b.target, retries=1, max_fails=2, fail_timeout=fail_timeout)
    assert several(server, 4) == {"a": 2, "b": 2}
    a.stop()
    assert several(server, 8) == {"b": 8}
    ejected = time.monotonic()
    a.start()
    served = several(server, 10)
    if time.monotonic() < ejected + 0.7 * fail_timeout:
        assert served == {"b": 10}
    until(lambda: who(server) == "a", "the server is used again", fail_timeout + PATIENCE)
    assert time.monotonic() > ejected + 0.7 * fail_timeout
    assert is_shared(several(server))


def test_a_server_that_stays_dead_is_tried_by_one_connection_at_a_time(forward_to, behind):
    """With no retry, what a trial costs shows: one connection in every fail_timeout, not every second one."""
    server = forward_to(behind(Refusing).target, behind(Talker, "b").target, retries=0, max_fails=1,
                   fail_timeout=0.5 * SCALE)
    begin = time.monotonic()
    served = several(server, 100)
    trials = 1 + (time.monotonic() - begin) / (0.5 * SCALE)
    assert 1 <= served[None] <= trials + 1


def test_the_last_server_is_not_left_out(forward_to, behind):
    """However often it failed: it serves as soon as it is back."""
    a = behind(Talker, "a")
    server = forward_to(a.target, max_fails=1, fail_timeout=60)
    a.stop()
    assert several(server, 5) == {None: 5}
    a.start()
    assert several(server, 5) == {"a": 5}


def test_a_flapping_server(forward_to, behind):
    """Every connection is served, by it or by the other."""
    a, b = behind(Talker, "a"), behind(Talker, "b")
    server = forward_to(a.target, b.target, retries=1, max_fails=0)
    for _ in range(20):
        assert set(several(server, 6)) == {"a", "b"}
        a.stop()
        assert several(server, 6) == {"b": 6}
        a.start()


def test_a_backup_is_used_while_it_has_to_be(forward_to, behind):
    a, b = behind(Talker, "a"), behind(Talker, "b")
    server = forward_to(a.target, {"address": b.target, "backup": True}, retries=1, max_fails=1, fail_timeout=0.5)
    assert several(server, 10) == {"a": 10}
    a.stop()
    assert several(server, 10) == {"b": 10}
    a.start()
    until(lambda: who(server) == "a", "the primary is used again")
    assert several(server, 10) == {"a": 10}


@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_a_thousand_connections_through_a_server_that_is_restarted(forward_to, services, reactors):
    """Ten times: 90 that wait for an answer when it ends, in order or by a crash, and 10 that come while it is down."""
    redis, chance = services.redis(), random.Random(reactors)
    server = forward_to(redis.target, reactors=reactors, max_fails=0, retries=0)
    for _ in range(10):
        clients = server.connect_many(90)
        for client in clients:
            client.ask("PING\r\n", "+PONG\r\n")
        for client in clients:
            client.send(chance.choice(("BLPOP nothing 0\r\n", "ECHO hello\r\n")))
        chance.choice((redis.kill, redis.end))()
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert client.rest() in (b"", b"$5\r\nhello\r\n")
            client.close()
        for _ in range(10):
            expect_reset(server)
        redis.run_again()
    ends = Counter(session.end for session in server.log.sessions(1000))
    assert ends["SC"] == 100 and set(ends) <= {"SC", "SD", "CD", "--"}, ends


def test_connections_of_all_kinds_while_servers_come_and_go(forward_to, behind):
    """Every connection is served or ends, and every one has its record."""
    talkers = [behind(Talker, name) for name in "abc"]
    server = forward_to(*[talker.target for talker in talkers], retries=2, max_fails=2, fail_timeout=0.2, reactors=2)
    visitors = [Visitor(server.targets[0], seed) for seed in range(4)]
    for visitor in visitors:
        visitor.start()
    chance = random.Random(1)
    for _ in range(15):
        talker = chance.choice(talkers)
        talker.stop()
        before = sum(len(visitor.served) for visitor in visitors)
        until(lambda before=before: sum(len(visitor.served) for visitor in visitors) > before + 20, "service goes on")
        talker.start()
    for visitor in visitors:
        visitor.check()
    assert {name for visitor in visitors for name in visitor.served} == {"a", "b", "c"}
    total = sum(len(visitor.served) + visitor.unserved for visitor in visitors)
    assert {session.end for session in server.log.sessions(total)} <= ENDS


# ---- bytes ----


@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_random_streams_of_many_pairs(forward_to, behind, ring, reactors):
    """Behind an upstream one of whose servers refuses: every byte is compared at both ends, both ways."""
    port = free_port()
    server = forward_to(behind(Refusing).target, f"127.0.0.1:{port}", ring=ring, reactors=reactors, max_fails=0)
    pairs = int(200 / SCALE)
    print(run_tool("pairs", port, server.port, pairs, 40, 1_000_000, 7 + reactors, int(10 * SCALE)))
    sessions = server.log.sessions(pairs)
    assert {session.end for session in sessions} == {"--"}


def test_streams_that_end_with_their_server_are_cut_not_garbled(forward_to, behind, ring):
    """What arrives until a server dies is a beginning of what was sent."""
    backend = behind(Backend)
    server = forward_to(backend.target, ring=ring)
    data = pattern(5_000_000)
    for _ in range(10):
        client = server.connect()
        upstream = backend.accept()
        sending = client.send_in_background(data)
        got = upstream.receive(random.randrange(1, 3_000_000))
        upstream.reset()
        sending.join(PATIENCE)
        assert not sending.is_alive()
        assert hash_of(got) == hash_of(data[:len(got)])
        client.close()
    assert len(server.log.sessions(10)) == 10
