"""Where zerg listens: IPv4, IPv6, both, unix sockets; several at a time; limits of one."""

import json
import socket
import stat

import pytest

from luatext import ECHO, handler
from peer import SCALE, dial, pattern, hash_of

ABOUT = """
conn:write(zerg.json.encode{ id = conn.id, remote_addr = conn.remote_addr, remote_port = conn.remote_port,
  local_addr = conn.local_addr, local_port = conn.local_port, listener = conn.listener, reactor = conn.reactor,
  open = conn.reason == nil, ctx = type(conn.ctx), bytes_in = conn.bytes_in }, "\\n")
conn:wait()
"""


def about(peer):
    return json.loads(peer.line())


def test_ipv4(zerg):
    server = zerg(ABOUT, listeners=[{"address": "127.0.0.1", "name": "front"}])
    peer = server.connect()
    seen = about(peer)
    assert (seen["remote_addr"], seen["remote_port"]) == peer.name[:2]
    assert (seen["local_addr"], seen["local_port"]) == ("127.0.0.1", server.port)
    assert seen["listener"] == "front" and seen["reactor"] == 0 and seen["open"] and seen["ctx"] == "table"
    assert about(server.connect())["id"] != seen["id"]


def test_ipv6(zerg):
    server = zerg(ABOUT, listeners=[{"address": "::1"}])
    peer = server.connect()
    seen = about(peer)
    assert (seen["remote_addr"], seen["remote_port"]) == peer.name[:2] and seen["local_addr"] == "::1"
    with pytest.raises(ConnectionRefusedError):
        dial(("127.0.0.1", server.port))


@pytest.mark.parametrize("ip_version, v4, v6", [("dual", True, True), ("v4", True, False), ("v6", False, True)])
def test_ip_versions_of_a_listener_without_address(zerg, ip_version, v4, v6):
    server = zerg(ABOUT, listeners=[{}], acceptor={"ip_version": ip_version})
    server.targets = [("127.0.0.1" if v4 else "::1", server.port)]
    server.wait_ready()
    for host, served in (("127.0.0.1", v4), ("::1", v6)):
        if served:
            peer = dial((host, server.port))
            assert about(peer)["remote_addr"] == host  # IPv4 shows as IPv4 on a dual-stack socket
            peer.close()
        else:
            with pytest.raises(ConnectionRefusedError):
                dial((host, server.port))


def test_unix_socket_with_its_mode(zerg):
    server = zerg(ABOUT, listeners=[{"path": "app.sock", "mode": "0660"}])
    seen = about(server.connect())
    assert seen["remote_port"] == 0 and seen["remote_addr"] == "" and seen["local_addr"] == server.targets[0]
    mode = (server.path / "app.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660


@pytest.mark.parametrize("incremental", [False, True])
def test_unix_socket_carries_data_and_its_end(zerg, incremental):
    """Includes the end of stream right behind data, which some kernels lost with multishot receives."""
    server = zerg(ECHO, listeners=[{"path": "app.sock"}], reactor={"incremental": incremental})
    data = pattern(4 << 20)
    peer = server.connect()
    sender = peer.send_in_background(data)
    assert peer.receive_hash(len(data)) == hash_of(data)
    sender.join()
    for n in range(200):
        peer = server.connect()
        peer.send(data[: n * 7]).half_close()
        assert peer.rest() == data[: n * 7]


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(zerg):
    first = zerg(ECHO, listeners=[{"path": "app.sock"}])
    first.connect().ask("x")
    second = zerg.command("run", "-c", first.path / "zerg.lua")
    assert second.returncode == 1 and "app.sock" in second.stderr and "in use" in second.stderr
    first.connect().ask("x")
    stale = zerg.directory()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale.path / "stale.sock"))
    server = zerg(ECHO, listeners=[{"path": str(stale.path / "stale.sock")}])
    server.connect().ask("x")


@pytest.mark.threads
def test_several_listeners_with_their_own_handlers(zerg):
    server = zerg(files={"a.lua": handler('conn:write("a on ", conn.listener)'),
                         "b.lua": handler('conn:write("b on ", conn.listener)')},
                  listeners=[{"address": "127.0.0.1", "handler": "a.lua", "name": "one"},
                             {"address": "::1", "handler": "b.lua", "name": "two"},
                             {"path": "s.sock", "handler": "a.lua", "name": "three"}], reactors=2)
    for _ in range(4):
        assert server.connect(0).rest() == b"a on one"
        assert server.connect(1).rest() == b"b on two"
        assert server.connect(2).rest() == b"a on three"


@pytest.mark.threads
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_a_full_listener_serves_the_next_when_one_leaves(zerg, accept):
    """Beyond max_connections peers wait in the backlog; the listener beside it is not affected."""
    server = zerg(ECHO, accept=accept,
                  listeners=[{"address": "127.0.0.1", "max_connections": 2}, {"address": "127.0.0.1"}])
    first, second = server.connect(), server.connect()
    first.ask("1")
    second.ask("2")
    waiting = server.connect()
    waiting.send("3").expect_silence(0.3)
    server.connect(1).ask("elsewhere")
    before = server.cpu_seconds()
    waiting.expect_silence(0.3)
    assert server.cpu_seconds() - before < 0.05 * SCALE
    first.close()
    waiting.expect("3")
    second.ask("2")


def test_a_full_reactor_serves_the_next_when_one_leaves(zerg):
    server = zerg(ECHO, reactor={"max_connections": 8})
    server.log.allow("max_connections")
    peers = server.connect_many(8)
    for peer in peers:
        peer.ask("in")
    waiting = server.connect_many(3)
    for peer in waiting:
        peer.send("later")
    waiting[0].expect_silence(0.2)
    for peer in peers[:3]:
        peer.close()
    for peer in waiting:
        peer.expect("later")


def test_tcp_options_are_taken(zerg):
    server = zerg(ECHO, listeners=[{"address": "127.0.0.1", "backlog": 16,
                                    "tcp": {"nodelay": False, "keepalive": True, "user_timeout": "5s",
                                            "fastopen": 16}}])
    server.connect().ask("x")
