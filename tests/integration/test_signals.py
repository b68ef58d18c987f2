"""Ending: TERM and QUIT let handlers finish, INT does not wait, and what is left has a bound."""

import signal
import time

import pytest

from luatext import ECHO
from peer import SCALE, dial, until

TWO_STEPS = """
conn:write("begun\\n")
conn:wait()
conn:write("finished\\n")
"""


def refused(server):
    """True when the running server takes no more connections."""
    assert server.process.poll() is None, f"ended already:\n{server.log.text()}"
    try:
        dial(server.targets[0]).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # was in the backlog when it was closed
        pass
    return False


@pytest.mark.threads
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_a_drain_lets_a_handler_finish_and_takes_nobody_new(zerg, number, accept):
    server = zerg(TWO_STEPS, drain_timeout=10, accept=accept, reactors=2)
    peer = server.connect()
    assert peer.line() == "begun"
    server.send_signal(number)
    until(lambda: refused(server), "new connections are refused")
    assert peer.send("go on").line() == "finished"
    peer.expect_end()
    peer.close()
    assert server.wait_exit() == 0


def test_a_drain_is_over_at_once_when_nobody_is_there(zerg):
    server = zerg(ECHO, drain_timeout=30)
    server.connect().ask("x").close()
    server.send_signal(signal.SIGTERM)
    assert server.wait_exit(within=2) == 0


def test_drain_timeout_cuts_what_does_not_end(zerg):
    server = zerg('conn:write("x") zerg.sleep(60) conn:wait()', drain_timeout=0.5)
    peer = server.connect().expect("x")
    begin = time.monotonic()
    server.send_signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert 0.4 < time.monotonic() - begin < 3 * SCALE
    server.log.allow("drain|still|cut")
    peer.close()


def test_bytes_in_flight_are_delivered_in_the_drain(zerg):
    server = zerg("""
        conn:wait()
        conn:write("ready\\n")
        conn:flush()
        zerg.sleep(0.1)
        conn:write(string.rep("x", 10000000))
    """, drain_timeout=10)
    peer = server.connect(receive_buffer=16384)
    assert peer.send("go").line() == "ready"
    server.send_signal(signal.SIGTERM)
    assert peer.rest() == b"x" * 10_000_000
    assert server.wait_exit() == 0


@pytest.mark.threads
@pytest.mark.parametrize("reactors", [1, 2])
def test_int_ends_at_once(zerg, reactors):
    server = zerg('conn:write("x") zerg.sleep(60)', drain_timeout=60, reactors=reactors)
    for peer in server.connect_many(20):
        peer.expect("x")
    begin = time.monotonic()
    server.send_signal(signal.SIGINT)
    assert server.wait_exit() == 0
    assert time.monotonic() - begin < 2 * SCALE


def test_int_after_term_does_not_wait_any_longer(zerg):
    server = zerg('conn:write("x") zerg.sleep(60)', drain_timeout=60)
    server.connect().expect("x")
    server.send_signal(signal.SIGTERM)
    until(lambda: refused(server), "new connections are refused")
    server.send_signal(signal.SIGINT)
    assert server.wait_exit(within=3) == 0


def test_idle_connections_do_not_hold_up_the_drain_beyond_its_time(zerg):
    server = zerg(ECHO, drain_timeout=1)
    server.log.allow("drain|still|cut")
    peers = server.connect_many(50)
    for peer in peers:
        peer.ask("x")
    server.send_signal(signal.SIGTERM)
    assert server.wait_exit(within=4) == 0
    for peer in peers:
        try:
            peer.rest()
        except ConnectionResetError:
            pass


@pytest.mark.threads
def test_term_in_the_middle_of_a_load(zerg):
    """Everything balances when the end comes at a busy moment."""
    server = zerg(ECHO, drain_timeout=0.3, reactors=2)
    server.log.allow("drain|still|cut")
    peers = server.connect_many(40)
    threads = [peer.send_in_background(bytes(30 << 20)) for peer in peers]
    peers[0].receive(100_000)
    server.send_signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    for peer in peers:
        peer.close()
    for thread in threads:
        thread.join()


def test_signals_at_start_do_not_break_it(zerg):
    """A stop that comes right behind the start."""
    for number in (signal.SIGTERM, signal.SIGINT):
        server = zerg(ECHO)
        server.connect().close()
        server.send_signal(number)
        assert server.wait_exit() == 0
