"""Upstreams as they are set up: limits and the queue, active checks, and who gets how much."""

import contextlib
import select
import threading
import time
from collections import Counter

import pytest

from peer import SCALE, Backend, Blackhole, dial, until
from talkers import Counted, Talker, expect_reset, is_shared, several, who


# ---- limits ----


def test_who_finds_no_slot_waits_for_one(forward_to, behind):
    server = forward_to(behind(Talker, "a").target, max_connections=2)
    holders = server.connect_many(2)
    for holder in holders:
        assert holder.line() == "a"
    waiting = server.connect_many(3)
    assert not select.select(waiting_socks(waiting), [], [], 0.2)[0]
    holders[0].close()
    first = until(lambda: select.select(waiting_socks(waiting), [], [], 0)[0], "one of them is served")
    assert first == [waiting[0].sock], "who came first is served first"
    for client, before in zip(waiting, [None, *waiting]):
        if before:
            before.close()
        assert client.line() == "a"
    waiting[-1].close()
    holders[1].close()
    assert several(server, 5) == {"a": 5}


def waiting_socks(peers):
    return [peer.sock for peer in peers]


def test_who_waits_too_long_is_reset(forward_to, behind):
    server = forward_to(behind(Talker, "a").target, max_connections=1, queue_timeout=0.3)
    holder = server.connect()
    assert holder.line() == "a"
    server.connect().expect_reset()
    (session,) = server.log.sessions(1)
    assert session.end == "sQ" and session.total_ms >= 290
    holder.close()
    until(lambda: who(server) == "a", "the slot is free again")


@pytest.mark.parametrize("way", ["half_close", "reset"])
def test_who_goes_while_waiting_was_queued(forward_to, behind, way):
    server = forward_to(behind(Talker, "a").target, max_connections=1, queue_timeout=30)
    holder = server.connect()
    assert holder.line() == "a"
    waiting = server.connect()
    waiting.expect_silence(0.1)
    getattr(waiting, way)()
    (session,) = server.log.sessions(1)
    assert session.end == "CQ"
    holder.close()


def test_a_trial_is_offered_to_those_who_wait(forward_to, behind, services):
    """Nobody gives a slot back then: the other server is busy all the time."""
    dead = Backend()
    target = dead.target
    dead.close()
    server = forward_to(behind(Talker, "a").target, target, max_connections=1, queue_timeout=30, retries=0, max_fails=1,
                        fail_timeout=1)
    holder = server.connect()
    assert holder.line() == "a"
    expect_reset(server)
    waiting = server.connect()
    waiting.expect_silence(0.1)
    waiting.expect_reset()
    holder.close()


def test_a_full_queue_turns_away(forward_to, behind):
    server = forward_to(behind(Talker, "a").target, max_connections=1, queue=1)
    holder = server.connect()
    assert holder.line() == "a"
    waiting = server.connect()
    waiting.expect_silence(0.1)
    expect_reset(server)
    holder.close()
    assert waiting.line() == "a"


def test_who_leaves_the_queue_takes_no_slot(forward_to, behind):
    server = forward_to(behind(Talker, "a").target, max_connections=1)
    holder = server.connect()
    assert holder.line() == "a"
    for client in server.connect_many(5):
        client.send("x")
        client.reset()
    last = server.connect()
    last.expect_silence(0.1)
    holder.close()
    assert last.line() == "a"


def test_a_limit_of_one_server_leaves_the_others(forward_to, behind):
    a, b = behind(Talker, "a"), behind(Talker, "b")
    server = forward_to({"address": a.target, "max_connections": 2}, b.target, reactors=2)
    clients = server.connect_many(12)
    assert Counter(client.line() for client in clients) == {"a": 2, "b": 10}


# ---- active checks ----

HEALTH = {"interval": 0.2, "timeout": 0.5 * SCALE, "rise": 2, "fall": 2}


def expect_comes_and_goes(ask, go, come):
    """That `a` beside `b` is taken out and brought back, and once it is out no connection pays for it: there are no
    retries. ask(count) says who served."""
    assert ask(10) == {"a": 5, "b": 5}
    go()
    until(lambda: ask(6) == {"b": 6}, "it is taken out")
    assert ask(30) == {"b": 30}
    come()
    until(lambda: "a" in ask(4), "it is back")
    assert is_shared(ask(10))


def test_checks_by_connecting(forward_to, behind):
    a, b = behind(Talker, "a"), behind(Talker, "b")
    server = forward_to(a.target, b.target, retries=0, max_fails=0, health=HEALTH)
    expect_comes_and_goes(lambda count: several(server, count), a.stop, a.start)


def test_a_check_that_gets_no_connection_times_out(forward_to, behind):
    hole = behind(Blackhole)
    server = forward_to(hole.target, behind(Talker, "b").target, retries=1, max_fails=0,
                   connect_timeout=SCALE, health={**HEALTH, "timeout": 0.3})

    def is_quick():
        begin = time.monotonic()
        assert several(server, 6) == {"b": 6}
        return time.monotonic() - begin < SCALE

    until(is_quick, "no connection tries it any more")


CHECKED = """
  server {
    listen 127.0.0.1:@PORT;
    keepalive_timeout 0;
    location / { return 200 "NAME\\n"; }
    location = /healthz { root @DIR; try_files /up =503; default_type text/plain; }
    location = /teapot { return 418; }
    location = /host { if ($host = app.internal) { return 204; } return 400; }
  }
"""


def web_server(services, name):
    nginx = services.nginx(CHECKED.replace("NAME", name))
    (nginx.path / "up").write_text("yes\n")
    return nginx


def who_of_web(server):
    """Who answers a request; as who()."""
    try:
        with server.connect() as client:
            return client.send("GET / HTTP/1.0\r\n\r\n").rest().decode().splitlines()[-1]
    except (ConnectionResetError, IndexError):
        return None


def several_of_web(server, count):
    return Counter(who_of_web(server) for _ in range(count))


@pytest.mark.parametrize("status", [None, 200, "200-299"])
def test_checks_by_http(forward_to, services, status):
    """The server answers all the time; what its check says decides."""
    a, b = web_server(services, "a"), web_server(services, "b")
    health = {**HEALTH, "path": "/healthz", **({"status": status} if status else {})}
    server = forward_to(a.target, b.target, retries=0, health=health)
    up = a.path / "up"
    expect_comes_and_goes(lambda count: several_of_web(server, count), up.unlink, lambda: up.write_text("yes\n"))


@pytest.mark.parametrize("health", [{"path": "/teapot", "status": 418}, {"path": "/teapot", "status": "400-499"},
                                    {"path": "/host", "host": "app.internal", "status": 204}], ids=str)
def test_what_a_check_asks_and_accepts(forward_to, services, health):
    """A server that passes stays in use for many intervals, beside one without such a page that is taken out."""
    a = web_server(services, "a")
    b = services.nginx('server { listen 127.0.0.1:@PORT; location / { return 200 "b\\n"; } }')
    server = forward_to(a.target, b.target, retries=0, health={**HEALTH, **health})
    until(lambda: several_of_web(server, 6) == {"a": 6}, "the other is taken out")
    begin = time.monotonic()
    while time.monotonic() < begin + 1:
        assert who_of_web(server) == "a"


def test_a_check_that_is_not_answered_fails(forward_to, behind):
    """It accepts and reads; and what is no HTTP is no answer either."""
    silent, rude = behind(Backend), behind(Talker, "this is no status")
    b = behind(Backend)
    answering = threading.Thread(target=answer_checks, args=(b,), daemon=True)
    answering.start()
    server = forward_to(silent.target, rude.target, b.target, retries=0, health={**HEALTH, "timeout": 0.2, "path": "/"})
    until(lambda: all(asks_well(server) for _ in range(6)), "only who answers is in use")


def answer_checks(backend):
    with contextlib.suppress(OSError):
        while True:
            peer = backend.accept()
            if peer.sock.recv(65536):
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            peer.close()


def asks_well(server):
    try:
        with server.connect() as client:
            client.sock.settimeout(0.5)
            return client.send("GET /\r\n\r\n").rest().startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def test_no_check_runs_more_often_for_more_reactors(forward_to, behind):
    """Once for the process: the server counts connections that nobody asked for."""
    checked = behind(Backend)
    server = forward_to(checked.target, reactors=2, health={"interval": 0.2, "timeout": 0.5, "rise": 1, "fall": 1})
    checked.accept()
    begin = time.monotonic()
    for _ in range(5):
        with contextlib.suppress(ConnectionResetError):
            checked.accept().expect_end()
    assert time.monotonic() - begin > 5 * 0.2 * 0.7
    assert server.log.sessions() == []


def test_all_are_down(forward_to, behind):
    """Nobody is connected to; who comes then is reset, and served when one is back."""
    a = behind(Talker, "a")
    server = forward_to(a.target, retries=0, max_fails=0, health=HEALTH)
    a.stop()
    until(lambda: several(server, 3) == {None: 3}, "it is down")
    a.start()
    until(lambda: several(server, 3) == {"a": 3}, "it is up again")


# ---- who gets how much ----


@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_round_robin_keeps_to_the_weights(forward_to, behind, reactors):
    counted = [behind(Counted) for _ in range(3)]
    weights = [3, 2, 1]
    targets = [{"address": server.target, "weight": weight} for server, weight in zip(counted, weights)]
    server = forward_to(*targets, reactors=reactors)
    total = int(6000 / SCALE) // 6 * 6
    for number in range(total):
        with dial(server.targets[0], source=f"127.0.0.{2 + number % 30}") as client:
            client.expect_end()
    for target, weight in zip(counted, weights):
        assert abs(target.count - total * weight / 6) <= total * 0.01, [server.count for server in counted]


def test_least_connections_evens_out_what_is_open(forward_to, behind):
    talkers = [behind(Talker, name) for name in "abc"]
    server = forward_to(*[talker.target for talker in talkers], balance="least_connections")
    clients = server.connect_many(30)
    names = [client.line() for client in clients]
    assert Counter(names) == {"a": 10, "b": 10, "c": 10}
    for client, name in zip(clients, names):
        if name == "b":
            client.close()
    until(lambda: len(server.log.sessions()) == 10, "ten have ended")
    assert Counter(client.line() for client in server.connect_many(10)) == {"b": 10}


def test_hash_keeps_a_client_with_its_server(forward_to, behind):
    talkers = [behind(Talker, name) for name in "abc"]
    server = forward_to(*[talker.target for talker in talkers], balance="hash", reactors=2)
    sources = [f"127.0.0.{number}" for number in range(2, 62)]
    first = [who(server, source=source) for source in sources]
    assert [who(server, source=source) for source in sources] == first
    assert set(Counter(first)) == {"a", "b", "c"}
    talkers[0].stop()
    later = [who(server, source=source) for source in sources]
    moved = sum(1 for one, other in zip(first, later) if one != other)
    assert None not in later and moved == first.count("a"), "only those of the server that is gone move"


def test_random_two_uses_everybody(forward_to, behind):
    talkers = [behind(Talker, name) for name in "abc"]
    server = forward_to(*[talker.target for talker in talkers], balance="random_two")
    served = several(server, 60)
    assert set(served) == {"a", "b", "c"} and min(served.values()) >= 5
