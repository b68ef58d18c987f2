"""limits.connections_per_ip: how many connections one client address may have on a listener, over all reactors."""

import collections
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from luatext import ECHO
from peer import Backend, Peer, until
from proxyheader import LOCAL, v1, v2

pytestmark = pytest.mark.threads

REFUSED = r"listener \S+: refused \d+ (more )?connections"
ANSWER = """
return function(req, res)
  res:send("hello")
end
"""


def front(**options):
    return {"address": "127.0.0.1", "name": "front", "limits": {"connections_per_ip": 2}, **options}


@pytest.fixture(params=["acceptor", "reuseport"])
def accept(request):
    return request.param


@pytest.fixture
def limited(zerg):
    """Starts an echo server whose clients may have two connections each; it may refuse others."""

    def start(listeners=None, **options):
        server = zerg(ECHO, listeners=listeners or [front()], **options).wait_listening()
        server.log.allow(REFUSED)
        return server

    return start


def is_served(peer, header=b""):
    return peer.send(header + b"hello").expect("hello")


def unless_reset(action, *args, **options):
    """What the action gives, or None: the connection was reset, which may show as early as in connect()."""
    try:
        return action(*args, **options)
    except (ConnectionResetError, BrokenPipeError):
        return None


def come(server, listener=0, header=b"", **options):
    """A new connection that is served, or None: it was reset."""
    return unless_reset(lambda: is_served(server.connect(listener, **options), header))


def come_again(server):
    """A new connection, as soon as there is room for it."""
    return until(lambda: come(server), "an earlier connection of the client is forgotten")


def wait_all_gone(server, before):
    """Until as many descriptors are open as before the clients came."""
    until(lambda: server.descriptors() <= before, "all have gone")


def test_one_too_many_is_reset_and_the_others_do_not_suffer(limited, engine):
    server = limited()
    first, second = come(server), come(server)
    for _ in range(5):
        assert not come(server)
    assert come(server, source="127.0.0.2")
    assert is_served(first) and is_served(second)
    server.log.wait(r"warn.*listener front: refused 1 connections of clients that have 2 "
                    r"\(limits.connections_per_ip\), the last from 127.0.0.1")
    first.close()
    come_again(server)
    assert not come(server)


@pytest.mark.parametrize("reactors", [1, 2])
def test_the_count_goes_down_however_clients_leave(limited, accept, reactors):
    server = limited(accept=accept, reactors=reactors)
    leave = [Peer.close, Peer.reset, lambda peer: peer.half_close().expect_end()]
    for way in leave * 5:
        peers = [come_again(server), come_again(server)]
        assert not come(server)
        for peer in peers:
            way(peer)
            peer.close()


@pytest.mark.parametrize("reactors", [1, 2])
def test_the_limit_holds_over_all_reactors_in_a_storm(limited, accept, reactors):
    """Many at once, from several addresses: of each exactly as many are served as may be."""
    server = limited([front(limits={"connections_per_ip": 7})], accept=accept, reactors=reactors)
    before = server.descriptors()
    hosts = [f"127.0.1.{host}" for host in range(1, 5)]
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            peers = list(pool.map(lambda host: come(server, source=host), hosts * 20))
        served = collections.Counter(peer.name[0] for peer in peers if peer)
        assert served == {host: 7 for host in hosts}
        for peer in filter(None, peers):
            peer.reset()
        wait_all_gone(server, before)


def test_a_connection_that_the_server_ends_is_forgotten(zerg, accept):
    server = zerg("conn:write(conn:read())", listeners=[front()], accept=accept, reactors=2).wait_listening()
    server.log.allow(REFUSED)
    for _ in range(20):
        peer = come_again(server)
        peer.expect_end()
        peer.close()


def test_a_connection_that_times_out_is_forgotten(limited, accept):
    server = limited([front(timeouts={"idle": 0.2})], accept=accept, reactors=2)
    silent = [come(server), come(server)]
    for peer in silent:
        peer.expect_end()
    come_again(server)


def test_a_listener_without_the_limit_is_not_affected(limited, accept):
    server = limited([front(), {"address": "127.0.0.1", "name": "open"}], accept=accept, reactors=2)
    come(server), come(server)
    assert not come(server)
    for peer in server.connect_many(20, listener=1):
        assert is_served(peer)


def test_listeners_count_for_themselves(limited, accept):
    server = limited([front(), front(name="other")], accept=accept, reactors=2)
    for listener in (0, 1, 0, 1):
        assert come(server, listener)
    assert not come(server, 0)
    assert not come(server, 1)


def test_http(zerg, accept):
    """The refused get no answer; the others go on with as many requests as they like."""
    server = zerg(files={"web.lua": ANSWER}, accept=accept, reactors=2, listeners=[
        front(protocol="http", handler="web.lua")]).wait_listening()
    server.log.allow(REFUSED)

    def get(peer):
        peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while peer.line() != "\r":
            pass
        peer.expect("hello")

    first, second = server.connect(), server.connect()
    get(first)
    get(second)
    assert not come(server)
    get(first)
    get(second)


def test_forward(zerg, accept):
    """Only the client's side counts, and it is gone with the relay."""
    backend = Backend()
    server = zerg(listeners=[front(forward=backend.target)], accept=accept, reactors=2).wait_listening()
    server.log.allow(REFUSED)
    before = server.descriptors()
    for _ in range(3):
        clients = [server.connect(), server.connect()]
        behind = [backend.accept(), backend.accept()]
        assert not come(server)
        for peer in clients + behind:
            peer.close()
        wait_all_gone(server, before)
    backend.close()


def test_ipv6_and_mapped_addresses(limited):
    """On a socket for both families IPv4 clients are those of an IPv4 socket."""
    server = limited([{"name": "front", "limits": {"connections_per_ip": 2}}])
    server.targets = [("127.0.0.1", server.port), ("::1", server.port)]
    for target in (0, 1, 0, 1):
        assert come(server, target)
    assert not come(server, 0)
    assert not come(server, 1)
    assert come(server, source="127.0.0.2")


def test_unix_clients_are_not_counted(limited):
    server = limited([{"path": "app.sock", "limits": {"connections_per_ip": 2}}])
    for peer in server.connect_many(10):
        assert is_served(peer)


# ---- the PROXY protocol ----


def test_the_header_says_who_counts(limited, accept):
    server = limited([front(proxy_protocol=True)], accept=accept, reactors=2)
    assert come(server, header=v1()) and come(server, header=v2())
    assert not come(server, header=v1())
    assert not come(server, header=v2())
    for host in range(20):  # all by one proxy
        assert come(server, header=v1(source=f"198.51.100.{host}"))
    for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:0:1::2"):
        assert come(server, header=v2(source=host, destination="::1"))
    assert not come(server, header=v2(source="2001:db8::3", destination="::1"))
    server.log.wait("listener front: refused 1 connections .* the last from 192.0.2.7")


@pytest.mark.parametrize("header", [v2(command=LOCAL), b"PROXY UNKNOWN\r\n", v2(source="/run/a", destination="/run/b")])
def test_a_proxy_that_speaks_for_nobody_is_not_counted(limited, header):
    server = limited([front(proxy_protocol=True)])
    for peer in server.connect_many(10):
        assert is_served(peer, header)


def test_who_waits_for_a_header_is_not_counted(limited):
    server = limited([front(proxy_protocol=True)])
    waiting = [peer.send(v1()[:20]) for peer in server.connect_many(10)]
    assert come(server, header=v1()) and come(server, header=v1())
    for peer in waiting:
        assert not unless_reset(is_served, peer, v1()[20:])


def test_who_is_not_trusted_counts_as_itself(limited, accept):
    server = limited([front(proxy_protocol=True, trusted=["127.0.0.9"])], accept=accept, reactors=2)
    for _ in range(2):
        assert come(server)
    assert not come(server)
    for _ in range(2):
        assert come(server, source="127.0.0.9", header=v1())
    assert not come(server, source="127.0.0.9", header=v1())
    assert come(server, source="127.0.0.9", header=v1(source="127.0.0.2"))


def test_a_unix_socket_behind_a_proxy_counts_its_clients(limited):
    server = limited([{"path": "app.sock", "name": "front", "proxy_protocol": True,
                       "limits": {"connections_per_ip": 1}}])
    assert come(server, header=v1())
    server.connect().send(v1()).expect_end()  # unix sockets know no reset
    assert come(server, header=v1(source="192.0.2.8"))


# ---- the log, and the end ----


def test_refusals_are_told_in_few_lines(limited, accept):
    server = limited(accept=accept, reactors=2)
    come(server), come(server)
    for _ in range(100):
        assert not come(server)
    assert server.log.text().count("refused") == 1
    server.stop()
    told = [int(line.split("refused ")[1].split()[0]) for line in server.log.text().splitlines() if "refused" in line]
    assert sum(told) >= 100 and len(told) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_and_starts_again_with_clients_at_the_limit(limited, accept, number):
    for _ in range(2):
        server = limited(accept=accept, reactors=2, drain_timeout=0)
        come(server), come(server)
        for _ in range(20):
            unless_reset(server.connect)
        server.process.send_signal(number)
        assert server.wait_exit() == 0
