"""Active checks of upstreams as the process runs them: what servers see of them, names, and how they end."""

import contextlib
import re
import signal
import time

import pytest

from harness import free_port
from peer import PATIENCE, SCALE, Backend, Blackhole, until
from talkers import Counted, Talker, expect_reset, several, who

HEALTH = {"interval": 0.2, "timeout": 0.5 * SCALE, "rise": 1, "fall": 2}
V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20, 0, 0, 0])


def named(zerg, dns, target, **options):
    """A server that forwards to what a name leads to."""
    server = zerg(listeners=[{"address": "127.0.0.1", "forward": "app"}], resolver={"servers": [dns.servers]},
                  upstreams={"app": {"servers": [target], "health": HEALTH, **options}})
    server.log.allow("upstream|server ")
    return server.wait_listening()


# ---- what a server sees ----


def test_the_request(forward_to, behind):
    backend = behind(Backend)
    forward_to(backend.target, health={**HEALTH, "path": "/up?x=1"})
    check = backend.accept()
    check.expect(f"GET /up?x=1 HTTP/1.1\r\nHost: {backend.target}\r\nUser-Agent: zerg-check\r\nConnection: close\r\n\r\n")
    check.send("HTTP/1.1 200 OK\r\n\r\n")
    check.expect_end()


def test_the_host_of_a_unix_socket(forward_to, zerg, behind):
    backend = behind(Backend, "\0zerg-check-test")
    forward_to("unix:@zerg-check-test", health={**HEALTH, "path": "/"})
    assert backend.accept().receive(60).split(b"\r\n")[1] == b"Host: localhost"


@pytest.mark.parametrize("version, header", [(1, b"PROXY UNKNOWN\r\n"), (2, V2_LOCAL)], ids=["v1", "v2"])
@pytest.mark.parametrize("path", [None, "/"], ids=["connect", "http"])
def test_the_proxy_protocol_header_comes_first(forward_to, behind, version, header, path):
    backend = behind(Backend)
    forward_to(backend.target, proxy_protocol=version, health={**HEALTH, **({"path": path} if path else {})})
    check = backend.accept().expect(header)
    if path:
        check.expect(f"GET / HTTP/1.1\r\nHost: {backend.target}\r\n").send("HTTP/1.0 204\r\n")
        for _ in range(3):
            check.line()
    check.expect_end()


def test_checks_end_without_a_reset(forward_to, behind):
    """Although the server speaks first, and only when the check is over."""
    backend = behind(Backend)
    forward_to(backend.target, health=HEALTH)
    for _ in range(3):
        check = backend.accept()
        check.expect_end()
        check.send("220 hello\r\n")
        time.sleep(0.05)
        check.send("and more\r\n").close()


def test_a_status_line_in_pieces(forward_to, behind):
    backend = behind(Backend)
    server = forward_to(backend.target, health={**HEALTH, "timeout": PATIENCE, "fall": 1, "path": "/"})
    check = backend.accept().expect("GET / HTTP/1.1\r\n")
    for _ in range(4):
        check.line()
    for byte in "HTTP/1.1 204 No Content":
        check.send(byte)
        time.sleep(0.005)
    check.send("\r\n").expect_end()
    check.close()
    check = backend.accept()
    check.send("HTTP/1.1 404 Not Found\r\n")
    server.log.wait(re.escape(f"server {backend.target} is down: 1 check in a row failed: status 404"))


def test_what_the_log_says(forward_to, behind):
    """Each change once, however long it lasts."""
    a = behind(Talker, "a")
    server = forward_to(a.target, health=HEALTH)
    a.stop()
    server.log.wait(re.escape(f"upstream app: server {a.target} is down: 2 checks in a row failed: refused"))
    time.sleep(1)
    a.start()
    server.log.wait(re.escape(f"upstream app: server {a.target} is up again: 1 check in a row passed"))
    time.sleep(0.5)
    changes = [entry.level for entry in server.log.entries() if re.search("is down|is up again", entry.text)]
    assert changes == ["warn", "info"]


# ---- how often ----


@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_as_many_checks_as_intervals(forward_to, behind, reactors):
    counted = [behind(Counted) for _ in range(5)]
    begin = time.monotonic()
    forward_to(*[server.target for server in counted], reactors=reactors, health=HEALTH)
    until(lambda: all(server.count for server in counted), "each is checked")
    time.sleep(2)
    most = (time.monotonic() - begin) / HEALTH["interval"] + 1
    counts = [server.count for server in counted]
    assert max(counts) <= most and min(counts) >= most / (2 * SCALE), counts


@pytest.mark.threads
def test_a_server_is_down_for_every_reactor(forward_to, behind):
    a, b = behind(Talker, "a"), behind(Talker, "b")
    server = forward_to(a.target, b.target, reactors=2, retries=0, max_fails=0, health=HEALTH)
    a.stop()
    server.log.wait("is down")
    assert several(server, 20) == {"b": 20}
    a.start()
    server.log.wait("is up again")
    assert several(server, 20) == {"a": 10, "b": 10}


def test_who_waits_in_line_gets_a_server_that_is_back(forward_to, behind):
    """The only other one is full, and stays so."""
    a, b = behind(Talker, "a"), behind(Talker, "b")
    server = forward_to(a.target, b.target, max_connections=2, max_fails=0, retries=0, queue_timeout=PATIENCE,
                        health=HEALTH)
    a.stop()
    server.log.wait("is down")
    holders = server.connect_many(2)
    assert [holder.line() for holder in holders] == ["b", "b"]
    waiting = server.connect_many(2)
    waiting[0].expect_silence(0.3)
    a.start()
    assert [client.line() for client in waiting] == ["a", "a"]


# ---- names ----


def test_a_name_is_looked_up_again_although_nobody_connects(zerg, dns, behind):
    port = free_port()
    old, new = behind(Backend, ("127.0.0.2", port)), behind(Backend, ("127.0.0.3", port))
    dns.host("app.test", "127.0.0.2", ttl=1)
    named(zerg, dns, f"app.test.:{port}")
    for _ in range(3):
        old.accept().close()
    dns.host("app.test", "127.0.0.3", ttl=1)
    new.accept().close()
    with contextlib.suppress(TimeoutError):
        old.sock.settimeout(0.01)
        while True:
            old.accept().close()
    old.sock.settimeout(0.6)
    with pytest.raises(TimeoutError):
        old.accept()
    new.accept()


def test_an_address_that_stays_keeps_its_health(zerg, dns, behind):
    port = free_port()
    behind(Backend, ("127.0.0.2", port))
    dns.host("app.test", "127.0.0.2", "127.0.0.3", ttl=1)
    server = named(zerg, dns, f"app.test.:{port}")
    server.log.wait(rf"server 127.0.0.3:{port} is down")
    dns.host("app.test", "127.0.0.3", "127.0.0.4", ttl=1)
    server.log.wait(rf"server 127.0.0.4:{port} is down")
    assert len([entry for entry in server.log.entries() if f"127.0.0.3:{port} is down" in entry.text]) == 1
    expect_reset(server)


def test_a_name_that_is_not_known_yet(zerg, dns, behind):
    backend = behind(Backend)
    dns.fail("app.test", 3)
    server = named(zerg, dns, f"app.test.:{backend.port}")
    server.log.wait("upstream app: cannot look up app.test.: no such name")
    dns.recover("app.test")
    dns.host("app.test", "127.0.0.1")
    backend.accept()


def test_a_name_is_the_host_of_the_request(zerg, dns, behind):
    backend = behind(Backend)
    dns.host("app.test", "127.0.0.1")
    named(zerg, dns, f"app.test.:{backend.port}", health={**HEALTH, "path": "/"})
    assert backend.accept().receive(60).split(b"\r\n")[1] == f"Host: app.test.:{backend.port}".encode()


# ---- room, and the end ----


def test_without_a_slot_nobody_is_to_blame(forward_to, behind):
    a = behind(Talker, "a")
    server = forward_to(a.target, ring={"max_connections": 2}, health={**HEALTH, "interval": 0.1, "fall": 1})
    client = until(lambda: held(server), "no check is in the way")
    server.log.wait("cannot check server .*: reactor.max_connections are open")
    time.sleep(0.5)
    client.ask("still there")
    client.close()
    until(lambda: who(server) == "a", "it is in use")
    assert not server.log.find("is down")


def held(server):
    """A connection that is served, or None."""
    with contextlib.suppress(ConnectionResetError):
        client = server.connect()
        client.line()
        return client
    return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", [Backend, Blackhole, Talker], ids=["no answer", "no connection", "quick"])
def test_the_end_does_not_wait_for_checks(forward_to, behind, number, kind):
    target = behind(kind, *(["a"] if kind is Talker else [])).target
    server = forward_to(target, health={"interval": 3600, "timeout": 3600, "path": "/"})
    until(lambda: "SYN" in sockets_to(target) or "ESTAB" in sockets_to(target) or kind is Talker, "a check is under way")
    begin = time.monotonic()
    server.send_signal(number)
    assert server.wait_exit() == 0
    assert time.monotonic() - begin < 2.5 * SCALE  # of the drain_timeout's 3
    assert not server.log.find("is down")


def sockets_to(target):
    """The states of connections to 127.0.0.1:PORT."""
    states = {"01": "ESTAB", "02": "SYN"}
    remote = f"0100007F:{int(target.split(':')[1]):04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return {states.get(row[3]) for row in rows if row[2] == remote}


def test_a_start_that_fails_while_checks_are_under_way(zerg, behind):
    handler = 'local zerg = require("zerg") return { start = function() zerg.sleep(0.3) error("cannot start") end, serve = function() end }'
    server = zerg(files={"handler.lua": handler},
                  upstreams={"app": {"servers": [behind(Blackhole).target], "health": {"interval": 0.1, "timeout": 60}}})
    server.check_at_end = False
    assert server.wait_exit() == 1
    assert server.log.find("cannot start")
    server.log.allow("cannot start|handler.lua|reactor")
    server.check_log()
