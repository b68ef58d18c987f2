"""What every set-up of the engine must do alike: bytes arrive once, whole, in order and on their own connection."""

import hashlib
import struct
import random

import pytest

from harness import run_tool
from luatext import ECHO, ECHO_LINES
from peer import SCALE, hash_of, pattern

pytestmark = pytest.mark.usefixtures("engine")


def test_echo_on_many_connections_at_a_time(zerg):
    server = zerg(ECHO)
    peers = server.connect_many(20)
    for turn in range(5):
        for number, peer in enumerate(peers):
            peer.send(f"<{number}:{turn}>")
        for number, peer in enumerate(peers):
            peer.expect(f"<{number}:{turn}>")


def test_one_byte_at_a_time(zerg):
    peer = zerg(ECHO).connect()
    for byte in pattern(300):
        peer.ask(bytes([byte]))


def test_one_byte_at_a_time_without_waiting(zerg):
    peer = zerg(ECHO_LINES).connect()
    text = b"".join(b"line %d\n" % n for n in range(100))
    for byte in text:
        peer.send(bytes([byte]))
    peer.expect(text)


def test_pipelined_lines_are_answered_in_order(zerg):
    peer = zerg(ECHO_LINES).connect()
    lines = "".join(f"message {n} {'x' * (n % 97)}\n" for n in range(2000))
    peer.send_in_background(lines.encode())
    peer.expect(lines)


def test_many_megabytes_each_way(zerg):
    """64 MiB to the server and back while both directions are busy."""
    count = (64 << 20) if SCALE == 1 else (8 << 20)
    peer = zerg(ECHO).connect()
    data = pattern(count)
    sender = peer.send_in_background(data)
    assert peer.receive_hash(count) == hash_of(data)
    sender.join()


def test_the_server_sees_what_was_sent(zerg):
    """The bytes a script sees are checked by the script's own means, not by their echo."""
    peer = zerg("""
        local sum, count = 0, 0
        for data in conn:reads() do
          for view in data:views() do
            for i = 0, view.len - 1 do sum = (sum * 31 + view.ptr[i]) % 65521 end
            count = count + view.len
          end
        end
        conn:write(string.format("%d %d", count, sum))
    """).connect()
    data = pattern(200_000)
    expected = 0
    for byte in data:
        expected = (expected * 31 + byte) % 65521
    peer.send(data).half_close()
    assert peer.rest() == b"%d %d" % (len(data), expected)


def test_records_that_straddle_small_buffers(zerg):
    """Self-describing records of 1 to 300 bytes on 32 connections, each answered by its length and a hash."""
    server = zerg("""
        local reader = conn:reader()
        while true do
          local n = reader:u16()
          if not n then return end
          local body, sum = tostring(reader:read_exactly(n)), 0
          for i = 1, #body do sum = (sum * 31 + body:byte(i)) % 65521 end
          conn:write(string.format("%d %d\\n", n, sum))
        end
    """, reactor={"recv_buffer_size": 1024, "buffer_ring_entries": 64})
    random_ = random.Random(7)
    peers = server.connect_many(32)
    expected = {peer: "" for peer in peers}
    for _ in range(40):
        for peer in peers:
            body = random_.randbytes(random_.randrange(1, 301))
            value = 0
            for byte in body:
                value = (value * 31 + byte) % 65521
            record = struct.pack(">H", len(body)) + body
            cut = random_.randrange(len(record))
            peer.send(record[:cut]).send(record[cut:])
            expected[peer] += f"{len(body)} {value}\n"
    for peer in peers[::2]:
        peer.half_close()
        assert peer.rest().decode() == expected[peer]
    for peer in peers[1::2]:
        peer.expect(expected[peer][: len(expected[peer]) // 2]).reset()


def test_tags_on_reused_slots_are_never_foreign(zerg):
    """Connections come and go at a high rate, many by RST with operations in flight: no byte of one reaches another."""
    server = zerg(ECHO).wait_ready()
    run_tool("storm", "127.0.0.1", server.port, int(4000 / SCALE), 64, 11, int(10 * SCALE))


def test_half_close_then_the_rest(zerg):
    """The peer ends its direction first; everything still comes back, then the end."""
    peer = zerg(ECHO).connect()
    data = pattern(3 << 20)
    sender = peer.send_in_background(data)
    got = peer.receive(1 << 20)
    sender.join()
    peer.half_close()
    assert hashlib.blake2b(got + peer.rest()).hexdigest() == hash_of(data)


def test_the_end_comes_at_once_when_the_handler_returns(zerg):
    """A close with a receive still armed reaches the peer as FIN, not when the receive happens to end."""
    server = zerg('conn:wait() conn:write("bye")')
    for _ in range(20):
        peer = server.connect()
        peer.ask("x", "bye").expect_end(within=0.5)


def test_a_large_reply_reaches_a_reader_that_pauses(zerg):
    """8 MiB written at once and the handler gone: close() waits for the peer to take them."""
    server = zerg("""
        conn:wait()
        conn:write(string.rep("0123456789abcdef", 65536 * 8))
    """)
    peer = server.connect(receive_buffer=16384)
    peer.send("go")
    head = peer.receive(1000)
    server.connect().ask("x", "0123456789abcdef")
    assert head + peer.rest() == b"0123456789abcdef" * (65536 * 8)


def test_a_peer_that_resets_in_a_large_reply_harms_nobody(zerg):
    server = zerg("""
        conn:wait()
        for _ = 1, 64 do
          if not conn:write(string.rep("x", 1048576)) then return end
        end
    """)
    for cut in (1, 1000, 100_000, 3_000_000):
        peer = server.connect()
        peer.send("go").receive(cut)
        peer.reset()
    server.connect().ask("go", "x" * 10)


def test_a_reply_survives_a_peer_that_still_sends(zerg):
    """Closing with unread bytes would make the kernel answer with RST and the reply be lost on its way."""
    peer = zerg("""
        conn:wait()
        conn:write(string.rep("r", 500000))
    """).connect()
    sender = peer.send_in_background(bytes(4 << 20))
    assert peer.receive(500_000) == b"r" * 500_000
    sender.join()


def test_abort_is_a_reset(zerg):
    server = zerg('conn:wait() conn:write("never seen") conn:abort()')
    for _ in range(5):
        server.connect().send("x").expect_reset()


def test_shutdown_ends_writing_and_reading_goes_on(zerg):
    server = zerg("""
        conn:write("bye")
        conn:shutdown()
        local seen = 0
        for data in conn:reads() do seen = seen + #data end
        zerg.log.info("seen %d", seen)
    """)
    peer = server.connect()
    assert peer.rest() == b"bye"
    peer.send(pattern(100_000)).half_close()
    server.log.wait("seen 100000")


def test_four_buffers_and_handlers_that_hold_them(zerg):
    """Running out of buffers slows peers down; it loses nothing and does not spin."""
    server = zerg("""
        while conn:wait() do
          for view in conn:views() do
            zerg.sleep(0.05)
            conn:write(view)
            view:release()
          end
        end
    """, reactor={"buffer_ring_entries": 4, "recv_buffer_size": 4096})
    peers = server.connect_many(8)
    texts = [[f"[{number}/{n}]".ljust(500) for n in range(32)] for number in range(8)]
    before = server.cpu_seconds()
    for n in range(32):
        for peer, messages in zip(peers, texts):
            peer.send(messages[n])
    for peer, messages in zip(peers, texts):
        peer.expect("".join(messages))
    assert server.cpu_seconds() - before < 0.5 * SCALE
    server.stop()
    assert server.counted("starved") > 0


def test_a_thousand_small_writes_arrive_in_order_at_a_slow_reader(zerg):
    """Sends that must wait are never overtaken by later ones, and short sends are finished."""
    server = zerg("""
        conn:wait()
        for i = 1, 1000 do
          conn:write(string.format("%06d", i), string.rep(string.char(65 + i % 26), 1000))
          if i % 7 == 0 then conn:flush() end
          if i % 50 == 0 then zerg.sleep(0) end
        end
    """, listeners=[{"address": "127.0.0.1", "write_buffer_max": 65536}])
    peer = server.connect(receive_buffer=4096, max_segment=536)
    peer.send("go")
    got = b""
    expected = b"".join(b"%06d" % i + bytes([65 + i % 26]) * 1000 for i in range(1, 1001))
    while len(got) < len(expected):
        part = peer.sock.recv(3000)
        assert part
        got += part
    assert got == expected


def test_a_burst_through_tiny_queues(zerg):
    """More submissions than the queue holds and more completions than one turn takes."""
    server = zerg(ECHO, reactor={"ring_entries": 8, "max_connections": 300, "batch_cqes": 1},
                  acceptor={"ring_entries": 1})
    peers = server.connect_many(250)
    for turn in range(4):
        for number, peer in enumerate(peers):
            for part in range(5):
                peer.send(f"<{number}:{turn}:{part}>")
        for number, peer in enumerate(peers):
            peer.expect("".join(f"<{number}:{turn}:{part}>" for part in range(5)))


def test_an_error_ends_one_connection_only(zerg):
    """The connections beside it go on, and the coroutine that failed is not used again."""
    server = zerg("""
        local depth = "clean"
        for data in conn:reads() do
          if tostring(data) == "fail" then depth = "dirty"; error("on purpose") end
          conn:write(depth)
        end
    """)
    bystander = server.connect()
    for _ in range(10):
        victim = server.connect()
        victim.ask("x", "clean").send("fail").expect_end()
        server.log.expect("on purpose")
        bystander.ask("y", "clean")


def test_every_reactor_serves(zerg):
    server = zerg('conn:write(zerg.reactor, "/", zerg.reactors, "\\n") conn:wait()')
    seen = {peer.line() for peer in server.connect_many(40)}
    assert len({answer.split("/")[1] for answer in seen}) == 1
    assert len(seen) == int(next(iter(seen)).split("/")[1])
