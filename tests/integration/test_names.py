"""Servers that are known by name: what is looked up and when, answers that change or do not come, and both families."""

import socket
import time
from collections import Counter

import pytest

from dnsserver import NXDOMAIN, SERVFAIL
from harness import free_port
from peer import SCALE, Backend, Blackhole, dial, until
from talkers import Talker, expect_reset, several, who

QUICK = {"timeout": 0.3 * SCALE, "attempts": 1}


class At(Talker):
    """A Talker at an address of its own; `port` as another one's, so that one name leads to several."""

    def __init__(self, name, host, port=None):
        self.name = name
        self.address = (host, port or free_port())
        self.start()


@pytest.fixture
def named(zerg, dns):
    """Starts a server whose names are looked up at `dns`, and that forwards to "app" (these servers), or to `forward`."""

    def start(*targets, forward="app", reactors=1, resolver=None, listener=None, **upstream):
        upstreams = {"app": {"servers": list(targets), **upstream}} if targets else {}
        server = zerg(listeners=[{"address": "127.0.0.1", "name": "front", "forward": forward, **(listener or {})}],
                      reactors=reactors, log={"level": "debug"}, upstreams=upstreams,
                      resolver={"servers": dns.servers, **(resolver or {})})
        return server.wait_listening()

    return start




# ---- hosts ----


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["upstream", "plain"])
def test_a_host_of_one_family(named, dns, behind, kind, host):
    a = behind(At, "a", host)
    dns.host("db.test", host)
    target = f"db.test:{a.address[1]}"
    server = named(target) if kind == "upstream" else named(forward=target)
    assert several(server, 5) == {"a": 5}
    assert (dns.asked("db.test", "A"), dns.asked("db.test", "AAAA")) == (1, 1)
    server_name = f"[{host}]:{a.address[1]}" if ":" in host else a.target
    assert {session.server for session in server.log.sessions(5)} == {server_name}


def test_all_addresses_of_a_name_are_servers(named, dns, behind):
    a = behind(At, "a", "127.0.0.1")
    behind(At, "b", "127.0.0.2", a.address[1])
    behind(At, "c", "::1", a.address[1])
    dns.host("db.test", "127.0.0.1", "127.0.0.2", "::1")
    assert several(named(f"db.test:{a.address[1]}"), 12) == {"a": 4, "b": 4, "c": 4}


def test_the_first_address_of_a_plain_target_that_works_is_used(named, dns, behind):
    port = free_port()
    behind(At, "b", "127.0.0.2", port)
    dns.host("db.test", "127.0.0.1", "127.0.0.2")
    assert several(named(forward=f"db.test:{port}"), 4) == {"b": 4}


def test_an_alias_is_followed(named, dns, behind):
    a = behind(Talker, "a")
    dns.alias("www.test", "db.test")
    dns.host("db.test", "127.0.0.1")
    assert who(named(f"www.test:{a.address[1]}")) == "a"


def test_names_and_addresses_side_by_side(named, dns, behind):
    a, b = behind(Talker, "a"), behind(Talker, "b")
    dns.host("db.test", "127.0.0.1")
    server = named(a.target, f"db.test:{b.address[1]}")
    until(lambda: who(server) == "b", "the name is known")  # nobody waits for it while there is another
    assert several(server, 10) == {"a": 5, "b": 5}


def test_a_name_of_the_hosts_file(named, dns, behind):
    a = behind(Talker, "a")
    for server in (named(f"localhost:{a.address[1]}"), named(forward=f"localhost:{a.address[1]}")):
        assert several(server, 3) == {"a": 3}
    assert dns.asked() == 0


def test_who_comes_while_the_name_is_looked_up_waits(named, dns, behind):
    a = behind(Talker, "a")
    dns.be_silent("db.test")
    server = named(f"db.test:{a.address[1]}", resolver={"timeout": 0.5 * SCALE, "attempts": 5})
    clients = server.connect_many(5)
    dns.wait_asked("db.test")
    dns.host("db.test", "127.0.0.1")
    dns.recover("db.test")
    for client in clients:
        assert client.line() == "a"
    assert dns.asked("db.test", "A") <= 3, "they share the question"


@pytest.mark.parametrize("how", ["reset", "close"])
def test_who_leaves_while_the_name_is_looked_up(named, dns, behind, how):
    a = behind(Talker, "a")
    dns.be_silent("db.test")
    server = named(f"db.test:{a.address[1]}", resolver={"timeout": 2 * SCALE, "attempts": 2})
    client = server.connect()
    dns.wait_asked("db.test")
    getattr(client, how)()
    (session,) = server.log.sessions(1)
    assert session.end == "CC"


def test_a_stop_while_a_name_is_looked_up(named, dns):
    dns.be_silent("db.test")
    server = named("db.test:80", resolver={"timeout": 60, "attempts": 1})
    clients = server.connect_many(3)
    dns.wait_asked("db.test")
    server.stop()
    assert len(server.log.sessions(3)) == 3
    for client in clients:
        client.close()


# ---- services ----


def test_services_have_priorities_and_weights(named, dns, behind):
    a, b, c = (behind(Talker, name) for name in "abc")
    for name in "abc":
        dns.host(f"{name}.test", "127.0.0.1")
    dns.service("_db._tcp.test", (10, 3, a.address[1], "a.test"), (10, 1, b.address[1], "b.test"),
                (20, 9, c.address[1], "c.test"))
    server = named("srv:_db._tcp.test", max_fails=1, fail_timeout=60, retries=2)
    assert several(server, 12) == {"a": 9, "b": 3}
    a.stop()
    until(lambda: several(server, 6) == {"b": 6}, "a is left out")
    b.stop()
    until(lambda: several(server, 6) == {"c": 6}, "those of the next priority serve")
    server.log.allow("is not used|cannot reach")


def test_a_service_as_a_plain_target(named, dns, behind):
    a, b = behind(Talker, "a"), behind(Talker, "b")
    dns.host("a.test", "127.0.0.1")
    dns.service("_db._tcp.test", (20, 0, a.address[1], "a.test"), (10, 0, b.address[1], "a.test"))
    server = named(forward="srv:_db._tcp.test")
    assert several(server, 4) == {"b": 4}
    b.stop()
    assert several(server, 4) == {"a": 4}


# ---- answers that change ----


@pytest.mark.parametrize("kind", ["upstream", "plain"])
@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_new_connections_go_where_the_name_leads_now(named, dns, behind, kind, reactors):
    a = behind(At, "a", "127.0.0.1")
    b = behind(At, "b", "127.0.0.2", a.address[1])
    dns.host("db.test", "127.0.0.1", ttl=1)
    target = f"db.test:{b.address[1]}"
    server = named(target, reactors=reactors) if kind == "upstream" else named(forward=target, reactors=reactors)
    old = server.connect()
    assert old.line() == "a"
    dns.host("db.test", "127.0.0.2", ttl=1)
    until(lambda: who(server) == "b", "the new address is used")
    until(lambda: several(server, 8) == {"b": 8}, "by all")
    old.ask("still here?")  # those that are open stay
    dns.host("db.test", "127.0.0.1", "127.0.0.2", ttl=1)
    if kind == "upstream":
        until(lambda: several(server, 4) == {"a": 2, "b": 2} or None, "both are used")
    old.ask("and now?")


def test_an_address_is_kept_for_its_time(named, dns, behind):
    a = behind(At, "a", "127.0.0.1")
    behind(At, "b", "127.0.0.2", a.address[1])
    dns.host("db.test", "127.0.0.1", ttl=3600)
    server = named(f"db.test:{a.address[1]}")
    assert who(server) == "a"
    dns.host("db.test", "127.0.0.2")
    begin = time.monotonic()
    while time.monotonic() < begin + 1.5:
        assert who(server) == "a"
    assert dns.asked("db.test", "A") == 1


@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_an_idle_server_asks_nothing(named, dns, behind, reactors):
    a = behind(Talker, "a")
    dns.host("db.test", "127.0.0.1", ttl=1)
    server = named(f"db.test:{a.address[1]}", reactors=reactors)
    time.sleep(0.3)
    assert dns.asked() == 0
    with server.connect() as client:
        assert client.line() == "a"
        asked = dns.asked()
        time.sleep(2.5)  # more than twice the TTL; the connection is there
        assert dns.asked() == asked == 2
    until(lambda: who(server) == "a" and dns.asked() > asked, "asked again when somebody comes")


@pytest.mark.threads
def test_one_reactor_asks_for_all(named, dns, behind):
    """One that knows no address asks for itself; after that, once for all of them in every TTL."""
    a = behind(Talker, "a")
    dns.host("db.test", "127.0.0.1", ttl=1)
    server = named(f"db.test:{a.address[1]}", reactors=2)
    begin = time.monotonic()
    served = Counter()
    while time.monotonic() < begin + 3:
        served += several(server, 10)
    periods = 1 + int(time.monotonic() - begin)
    assert set(served) == {"a"}
    assert 2 <= dns.asked("db.test", "A") <= periods + 2


# ---- answers that do not come ----


FAILURES = ["nxdomain", "servfail", "silence", "gone"]


def break_name(dns, name, how):
    if how == "silence":
        dns.be_silent(name)
    elif how == "gone":
        dns.close()
    else:
        dns.fail(name, {"nxdomain": NXDOMAIN, "servfail": SERVFAIL}[how])


@pytest.mark.parametrize("how", FAILURES)
def test_old_addresses_are_kept_while_the_name_cannot_be_looked_up(named, dns, behind, how):
    a = behind(Talker, "a")
    dns.host("db.test", "127.0.0.1", ttl=1)
    server = named(f"db.test:{a.address[1]}", resolver=QUICK)
    assert who(server) == "a"
    break_name(dns, "db.test", how)
    begin = time.monotonic()
    while time.monotonic() < begin + 2.5 + QUICK["timeout"]:
        assert who(server) == "a"
        time.sleep(0.02)
    assert server.log.find("cannot look up db.test")


@pytest.mark.parametrize("kind", ["upstream", "plain"])
@pytest.mark.parametrize("how", FAILURES)
def test_a_name_that_cannot_be_looked_up(named, dns, how, kind):
    server = named("db.test:80", resolver=QUICK) if kind == "upstream" else named(forward="db.test:80", resolver=QUICK)
    break_name(dns, "db.test", how)
    expect_reset(server)
    (session,) = server.log.sessions(1)
    assert (session.end, session.server, session.bytes_down) == ("SC", "", 0)
    server.log.expect("listener front: cannot reach (app|db.test:80) for conn 1: ")
    assert server.log.unexpected() == []


def test_a_failure_is_remembered_for_a_while(named, dns, behind):
    a = behind(Talker, "a")
    server = named(f"db.test:{a.address[1]}")
    server.log.allow("cannot reach app .*: no such name")
    for _ in range(10):
        expect_reset(server)
    server.log.sessions(10)
    assert dns.asked("db.test", "A") == 1
    dns.host("db.test", "127.0.0.1")
    until(lambda: who(server) == "a", "it is asked for again")


def test_one_bad_name_does_not_keep_the_others_from_serving(named, dns, behind):
    a = behind(Talker, "a")
    dns.host("db.test", "127.0.0.1")
    server = named("gone.test:80", f"db.test:{a.address[1]}", retries=0)
    assert several(server, 5) == {"a": 5}
    begin = time.monotonic()
    while time.monotonic() < begin + 3.5:
        assert who(server) == "a"
        time.sleep(0.05)
    assert dns.asked("gone.test", "A") >= 2
    assert dns.asked("db.test", "A") == 1


# ---- both families ----


@pytest.fixture
def hole6(behind):
    """A port where ::1 answers nothing; 127.0.0.1 is free there."""
    hole = behind(Hole6)
    return hole.port


class Hole6(Blackhole):
    """As Blackhole, on ::1."""

    def __init__(self):
        self.backend = Backend(("::1", 0), backlog=0)
        self.port = self.backend.port
        self.socks = []
        while True:
            sock = socket.socket(socket.AF_INET6)
            self.socks.append(sock)
            sock.settimeout(0.3)
            try:
                sock.connect(("::1", self.port))
            except TimeoutError:
                return


@pytest.mark.parametrize("kind", ["upstream", "plain"])
def test_a_family_that_does_not_answer_costs_a_quarter_of_a_second(named, dns, behind, hole6, kind):
    behind(At, "a", "127.0.0.1", hole6)
    dns.host("db.test", "127.0.0.1", "::1")
    target = f"db.test:{hole6}"
    server = named(target, retries=0, max_fails=0) if kind == "upstream" else named(forward=target)
    waited = []
    for _ in range(6):
        begin = time.monotonic()
        assert who(server) == "a"
        waited.append(time.monotonic() - begin)
    assert max(waited) < 0.25 + 1.0 * SCALE
    if kind == "upstream":  # they take turns
        assert 0.24 < sorted(waited)[-3] and sorted(waited)[2] < 0.24 * SCALE
    assert {session.server for session in server.log.sessions(6)} == {f"127.0.0.1:{hole6}"}


@pytest.mark.parametrize("kind", ["upstream", "plain"])
def test_a_family_that_refuses_costs_nothing(named, dns, behind, kind):
    a = behind(Talker, "a")
    dns.host("db.test", "127.0.0.1", "::1")
    target = f"db.test:{a.address[1]}"
    server = named(target, retries=0, max_fails=0) if kind == "upstream" else named(forward=target)
    begin = time.monotonic()
    assert several(server, 10) == {"a": 10}
    assert time.monotonic() - begin < 10 * 0.2 * SCALE


def test_who_loses_a_race_is_let_go(named, dns, behind, hole6):
    behind(At, "a", "127.0.0.1", hole6)
    dns.host("db.test", "127.0.0.1", "::1")
    server = named(f"db.test:{hole6}", max_fails=1, fail_timeout=60)
    before = server.descriptors()
    clients = server.connect_many(10)
    for client in clients:
        assert client.line() == "a"
    until(lambda: server.descriptors() == before + 20, "two descriptors for each client")
    assert not server.log.find("is not used"), "slower is not broken"


def test_the_clients_patience_is_not_tried_for_ever(named, dns, hole6):
    """Nobody answers at any address: the listener's time for a plain target is one for all."""
    dns.host("db.test", "::1")
    server = named(forward=f"db.test:{hole6}", listener={"timeouts": {"connect": 0.6}})
    begin = time.monotonic()
    expect_reset(server)
    assert 0.5 < time.monotonic() - begin < 0.6 + 2 * SCALE
    (session,) = server.log.sessions(1)
    assert session.end == "sC"
    server.log.expect("cannot reach db.test:[0-9]+ for conn 1: timeout")


# ---- the line, over reactors ----


@pytest.mark.threads
def test_the_line_is_one_for_all_reactors(named, dns, behind):
    """Connections on two reactors share three slots: everybody is served, one after the other, none is forgotten."""
    a = behind(Talker, "a")
    dns.host("db.test", "127.0.0.1")
    target = {"address": f"db.test:{a.address[1]}", "max_connections": 3}
    server = named(target, reactors=2, queue=200, queue_timeout=30 * SCALE)
    waiting = server.connect_many(120)
    served = 0
    while waiting:
        ready = [client for client in waiting if has_line(client)]
        assert len(ready) <= 3
        for client in ready:
            assert client.line() == "a"
            client.close()
            waiting.remove(client)
            served += 1
    assert served == 120
    assert dial(server.targets[0]).line() == "a"


def has_line(client):
    client.sock.settimeout(0)
    try:
        return bool(client.sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.sock.settimeout(10 * SCALE)
