"""Time-outs of reading, writing and idling, from the listener and from conn:timeout. Time is the subject here."""

import time

import pytest

from peer import SCALE

SAY_WHY = """
local data, reason = conn:read()
conn:write(tostring(data), " ", tostring(reason), "\\n")
"""


def listener(**timeouts):
    return [{"address": "127.0.0.1", "timeouts": timeouts}]


def took(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


@pytest.mark.parametrize("where", ["listener", "script"])
def test_a_read_gives_up(zerg, where):
    """The connection is still the script's: it can answer."""
    if where == "listener":
        server = zerg(SAY_WHY, listeners=listener(read=0.3))
    else:
        server = zerg("conn:timeout{ read = 0.3 }" + SAY_WHY)
    peer = server.connect()
    assert 0.28 <= took(lambda: peer.expect("nil timeout\n")) < 1.3 * SCALE


def test_a_read_timeout_starts_anew_with_every_read(zerg):
    peer = zerg("""
        conn:timeout{ read = 0.4 }
        for data in conn:reads() do conn:write(data) end
        conn:write("<", conn.reason or "open", ">")
    """).connect()
    for _ in range(4):
        time.sleep(0.2)
        peer.ask("x")
    rest = peer.rest()
    assert rest in (b"<timeout>", b"<open>")


def test_zero_is_no_timeout(zerg):
    peer = zerg("conn:timeout{ read = 0 }" + SAY_WHY, listeners=listener(read=0.2)).connect()
    peer.expect_silence(0.6)
    assert peer.send("there").line() == "there nil"


def test_a_peer_that_does_not_read_is_given_up(zerg):
    server = zerg("""
        conn:wait()
        local ok, reason
        repeat ok, reason = conn:write(string.rep("x", 65536)) until not ok
        zerg.log.info("write gave up: %s", tostring(reason))
    """, listeners=listener(write=0.3))
    peer = server.connect(receive_buffer=4096)
    peer.send("go")
    server.log.wait("write gave up: timeout")


def test_slow_progress_is_progress(zerg):
    """The write time-out counts from the last byte the peer took."""
    server = zerg("""
        conn:wait()
        local ok, reason = conn:send(string.rep("x", 2000000))
        zerg.log.info("sent: %s %s", tostring(ok), tostring(reason))
    """, listeners=listener(write=0.5))
    peer = server.connect(receive_buffer=8192, max_segment=1400)
    peer.send("go")
    taken, begin = 0, time.monotonic()
    while taken < 2_000_000:
        taken += len(peer.receive(50_000))
        if time.monotonic() - begin < 1.5:
            time.sleep(0.1)
    server.log.wait("sent: true")


def test_an_idle_connection_is_closed(zerg):
    server = zerg("""
        for data in conn:reads() do conn:write(data) end
        zerg.log.info("ended: %s", tostring(conn.reason))
    """, listeners=listener(idle=0.4))
    peer = server.connect()
    for _ in range(3):
        time.sleep(0.2)
        peer.ask("still there")
    assert 0.35 <= took(lambda: peer.expect_end(within=3)) < 1.5 * SCALE
    server.log.wait("ended: timeout")


def test_many_timeouts_at_once(zerg):
    server = zerg("conn:timeout{ read = 0.5 } " + SAY_WHY)
    peers = server.connect_many(200)
    begin = time.monotonic()
    for peer in peers:
        peer.expect("nil timeout\n")
    assert time.monotonic() - begin < 2 * SCALE
