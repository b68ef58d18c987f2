"""Reloads that change upstreams: what is known of servers that stay is kept, what is gone gets nothing new."""

import pytest

from httpserver import Answering, Upstream, answered, switched
from httptalk import answer, ask, get
from peer import Backend, until
from reloads import reload, wait_for_versions

HEALTH = {"interval": 0.1, "timeout": 1, "rise": 1, "fall": 1}


def upstream(*servers, **options):
    return {"app": {"servers": [server.target for server in servers], **options}}


@pytest.mark.threads
def test_servers_come_and_go(zerg, behind, quick_engine):
    one, two, three = (behind(Answering, answered(word)) for word in ("one", "two", "three"))
    server = zerg(listeners=[{"address": "127.0.0.1", "protocol": "http", "forward": "app"}],
                  upstreams=upstream(one, two, keepalive=8)).wait_listening()
    peers = server.connect_many(6)
    for peer in peers:
        assert {ask(peer, get("/")).body for _ in range(4)} <= {b"one", b"two"}
    server.configure(upstreams=upstream(two, three, keepalive=8))
    reload(server)
    asked = len(one.requests)
    answers = [ask(peer, get("/")).body for peer in peers + server.connect_many(4) for _ in range(4)]
    assert set(answers) == {b"two", b"three"}
    assert len(one.requests) == asked


def test_idle_connections_to_a_server_that_remains_are_used_again(zerg, behind):
    kept, gone = behind(Answering, answered("kept")), behind(Answering, answered("gone"))
    server = zerg(listeners=[{"address": "127.0.0.1", "protocol": "http", "forward": "app"}],
                  upstreams=upstream(kept, gone, keepalive=8)).wait_listening()
    peer = server.connect()
    assert {ask(peer, get("/")).body for _ in range(6)} == {b"kept", b"gone"}
    server.configure(upstreams=upstream(kept, keepalive=8))
    reload(server)
    assert {ask(peer, get("/")).body for _ in range(6)} == {b"kept"}
    assert len(kept.backend.peers) == 1
    until(lambda: gone.backend.peers[0].sock.recv(1) == b"" if gone.backend.peers else True, "it was let go")


@pytest.mark.threads
def test_a_server_that_is_down_stays_down(zerg, behind):
    up, down = behind(Answering, answered("up")), behind(Backend)
    target = down.target
    down.close()
    server = zerg(listeners=[{"address": "127.0.0.1", "protocol": "http", "forward": "app"}], reactors=2,
                  upstreams={"app": {"servers": [up.target, target], "health": HEALTH}}).wait_listening()
    server.log.allow("upstream app|server ")
    server.log.wait("is down")
    peers = server.connect_many(4)
    for seconds in (30, 31, 32):
        health = {**HEALTH, "interval": seconds}
        server.configure(upstreams={"app": {"servers": [up.target, target], "health": health}})
        reload(server)
        for peer in peers:
            assert {ask(peer, get("/")).body for _ in range(4)} == {b"up"}
    assert len(server.log.find("is down")) == 1
    assert not server.log.find("cannot reach")


def test_another_upstream_and_then_a_plain_target(zerg, behind):
    one = behind(Answering, answered("one"))
    server = zerg(listeners=[{"address": "127.0.0.1", "protocol": "http", "forward": "app"}],
                  upstreams=upstream(one)).wait_listening()
    peer = server.connect()
    assert ask(peer, get("/")).body == b"one"
    row = {**server.rows[0], "forward": "other"}
    server.configure(listeners=[row], upstreams={"other": {"servers": [one.target]}})
    reload(server)
    assert ask(peer, get("/")).body == b"one"
    server.configure(listeners=[{**row, "forward": one.target}], upstreams={})
    reload(server)
    assert ask(peer, get("/")).body == b"one"


@pytest.mark.threads
def test_a_tunnel_survives_reloads_and_drain_timeout(zerg, behind, control, quick_engine):
    backend = behind(Upstream)
    server = zerg(listeners=[{"address": "127.0.0.1", "protocol": "http", "forward": "app"}], drain_timeout=0.2,
                  upstreams=upstream(backend)).wait_listening()
    client = control(server)
    peer = server.connect()
    other = switched(peer, backend)
    for number in (2, 3):
        assert reload(server) == number
        wait_for_versions(client, number)
        peer.send("ping")
        other.expect("ping").send("pong")
        peer.expect("pong")


def test_requests_under_way_to_a_removed_server_end_there(zerg, behind):
    backend, new = behind(Upstream), behind(Answering, answered("new"))
    server = zerg(listeners=[{"address": "127.0.0.1", "protocol": "http", "forward": "app"}],
                  upstreams=upstream(backend, keepalive=8)).wait_listening()
    peer = server.connect().send(get("/"))
    other, _ = backend.accept_request()
    server.configure(upstreams=upstream(new, keepalive=8))
    reload(server)
    other.send(answered("late"))
    assert answer(peer).body == b"late"
    assert ask(peer, get("/")).body == b"new"
