"""Peers that stall, reset or half-close at any byte of an exchange, on every set-up of the engine."""

import pytest

from luatext import ECHO_LINES
from peer import pattern

pytestmark = pytest.mark.usefixtures("engine")

EXCHANGE = b"first\nsecond line\nthird\n"


def complete_lines(data):
    return data[: data.rfind(b"\n") + 1]


def test_reset_at_any_byte(zerg):
    server = zerg(ECHO_LINES)
    for position in range(len(EXCHANGE) + 1):
        server.connect().send(EXCHANGE[:position]).reset()
        peer = server.connect()
        peer.send(EXCHANGE[:position]).expect(complete_lines(EXCHANGE[:position])).reset()
    server.connect().ask(EXCHANGE)


def test_half_close_at_any_byte(zerg):
    """Whole lines are answered, the torn one is not, and the server then ends its own direction."""
    server = zerg(ECHO_LINES)
    for position in range(len(EXCHANGE) + 1):
        peer = server.connect()
        peer.send(EXCHANGE[:position]).half_close()
        assert peer.rest() == complete_lines(EXCHANGE[:position])


def test_close_at_any_byte_with_answers_unread(zerg):
    server = zerg(ECHO_LINES)
    for position in range(len(EXCHANGE) + 1):
        server.connect().send(EXCHANGE[:position]).close()
    server.connect().ask(EXCHANGE)


def test_a_stall_at_any_byte_holds_up_nobody_else(zerg):
    server = zerg(ECHO_LINES)
    stalled = []
    for position in range(len(EXCHANGE)):
        peer = server.connect()
        stalled.append((peer.send(EXCHANGE[:position]), position))
        server.connect().ask(EXCHANGE)
    for peer, position in stalled:
        peer.send(EXCHANGE[position:]).expect(EXCHANGE)


def test_connecting_and_leaving_without_a_byte(zerg):
    server = zerg(ECHO_LINES)
    for turn in range(200):
        peer = server.connect()
        peer.reset() if turn % 2 else peer.close()
    server.connect().ask(EXCHANGE)


def test_a_handler_that_never_reads_does_not_keep_its_peer(zerg):
    server = zerg('conn:write("no")')
    for _ in range(20):
        peer = server.connect()
        peer.send_in_background(pattern(300_000))
        assert peer.receive(2) == b"no"


def test_a_peer_that_reads_nothing_and_resets(zerg):
    server = zerg("""
        conn:wait()
        while conn:write(string.rep("x", 65536)) do end
        zerg.log.info("writer ended: %s", tostring(conn.reason))
    """)
    for _ in range(3):
        peer = server.connect(receive_buffer=4096)
        peer.send("go").receive(100)
        peer.reset()
    server.log.wait("writer ended: (reset|closed)")
