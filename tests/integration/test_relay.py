"""Listeners that forward: what one side sends the other gets, and how relays end. The test is both the client and the
server behind."""

import random
import select
import signal
import threading

import pytest

from harness import free_port, run_tool
from peer import PATIENCE, SCALE, Backend, Blackhole, hash_of, pattern, until

SMALL_RING = {"recv_buffer_size": 4096, "buffer_ring_entries": 4}
RINGS = [
    pytest.param({"incremental": False}, id="plain"),
    pytest.param({"incremental": True}, id="incremental"),
    pytest.param({"incremental": False, **SMALL_RING}, id="plain-small"),
    pytest.param({"incremental": True, **SMALL_RING}, id="incremental-small"),
    pytest.param({"incremental": True, "recv_buffer_size": 1024, "buffer_ring_entries": 1}, id="one-buffer"),
]


@pytest.fixture(params=RINGS)
def ring(request):
    return request.param


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.close()


@pytest.fixture
def relay(zerg, backend):
    """Starts a server that forwards to the backend; options are those of the listener."""

    def start(ring=None, target=None, reactors=1, **options):
        row = {"address": "127.0.0.1", "forward": target or backend.target, **options}
        server = zerg(listeners=[row], reactor=ring or {}, reactors=reactors)
        return server

    return start


def pair(server, backend):
    """Both ends of a new relay."""
    client = server.connect()
    return client, backend.accept()


@pytest.fixture
def blackhole():
    hole = Blackhole()
    yield hole
    hole.close()


def send_in_chunks(peer, data, seed, longest):
    """A thread that sends data in pieces of random length and then half-closes."""
    chance = random.Random(seed)

    def run():
        at = 0
        while at < len(data):
            step = chance.choice((1, chance.randint(1, 600), chance.randint(1, longest)))
            peer.sock.sendall(data[at:at + step])
            at += step
        peer.half_close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


# ---- bytes ----


@pytest.mark.parametrize("longest", [2_000, 200_000])
def test_bytes_are_exact_both_ways_at_once(relay, backend, ring, longest):
    server = relay(ring)
    for seed in range(3):
        client, upstream = pair(server, backend)
        count = 400 * longest if longest < 10_000 else 6_000_000
        up, down = pattern(count, f"up{seed}"), pattern(count, f"down{seed}")
        threads = [send_in_chunks(client, up, seed, longest), send_in_chunks(upstream, down, -seed, longest)]
        got = {}

        def drain(name, peer, got=got):
            got[name] = peer.rest()

        readers = [threading.Thread(target=drain, args=row) for row in (("up", upstream), ("down", client))]
        for thread in readers:
            thread.start()
        for thread in threads + readers:
            thread.join(PATIENCE * 3)
        assert hash_of(got["up"]) == hash_of(up)
        assert hash_of(got["down"]) == hash_of(down)


@pytest.mark.parametrize("reactors", [1, pytest.param(2, marks=pytest.mark.threads)])
def test_random_streams_of_many_pairs(relay, ring, reactors):
    """Writes of random lengths both ways, either side ending first, some that read slowly: every byte is compared."""
    behind = free_port()
    server = relay(ring, target=f"127.0.0.1:{behind}", reactors=reactors).wait_listening()
    print(run_tool("pairs", behind, server.port, int(120 / SCALE), 40, 1_000_000, reactors, int(10 * SCALE)))


def test_a_hundred_conversations_at_once(relay, backend, ring):
    server = relay(ring)
    pairs = [pair(server, backend) for _ in range(100)]
    for round_number in range(3):
        for number, (client, upstream) in enumerate(pairs):
            client.send(f"question {number} {round_number}\n")
            upstream.send(pattern(5_000, number))
        for number, (client, upstream) in enumerate(pairs):
            upstream.expect(f"question {number} {round_number}\n")
            client.expect(pattern(5_000, number))


def test_the_server_may_speak_first(relay, backend, ring):
    client, upstream = pair(relay(ring), backend)
    upstream.send("220 ready\r\n")
    client.expect("220 ready\r\n")
    client.send("QUIT\r\n")
    upstream.expect("QUIT\r\n")


def test_bytes_that_come_while_connecting_are_kept(relay, backend, ring):
    """The client has sent all and ended its stream before the server is asked."""
    client = relay(ring).connect().send(pattern(100_000)).half_close()
    upstream = backend.accept()
    assert upstream.rest() == pattern(100_000)
    upstream.send("got it").close()
    assert client.rest() == b"got it"


@pytest.mark.parametrize("kind", ["unix", "abstract", "ipv6"])
def test_other_kinds_of_addresses(zerg, kind, tmp_path):
    where = {"unix": str(tmp_path / "backend.sock"), "abstract": f"\0zerg-test-{free_port()}", "ipv6": ("::1", 0)}[kind]
    backend = Backend(where)
    target = f"unix:@{where[1:]}" if kind == "abstract" else backend.target
    listener = {"address": "::1"} if kind == "ipv6" else {"path": "front.sock"}
    client, upstream = pair(zerg(listeners=[{**listener, "forward": target}]), backend)
    upstream.send("hello")
    client.expect("hello").send(pattern(50_000)).half_close()
    assert upstream.rest() == pattern(50_000)
    upstream.close()
    client.expect_end()
    backend.close()


@pytest.mark.threads
def test_every_engine_relays(zerg, engine, backend):
    server = zerg(listeners=[{"address": "127.0.0.1", "forward": backend.target}])
    for _ in range(4):
        client, upstream = pair(server, backend)
        client.send_in_background(pattern(300_000))
        assert upstream.receive(300_000) == pattern(300_000)
        upstream.send("thanks").half_close()
        assert client.rest() == b"thanks"
        client.close()
        upstream.expect_end()


# ---- ends ----


def test_half_close_by_the_client(relay, backend, ring):
    client, upstream = pair(relay(ring), backend)
    client.send(pattern(200_000)).half_close()
    assert upstream.rest() == pattern(200_000)
    for number in range(3):
        upstream.send(f"still talking {number}")
        client.expect(f"still talking {number}")
    upstream.close()
    client.expect_end()


def test_half_close_by_the_server(relay, backend, ring):
    client, upstream = pair(relay(ring), backend)
    upstream.send(pattern(200_000)).half_close()
    assert client.rest() == pattern(200_000)
    for number in range(3):
        client.send(f"still talking {number}")
        upstream.expect(f"still talking {number}")
    client.close()
    upstream.expect_end()


def test_the_last_byte_comes_before_the_end_through_a_slow_reader(relay, backend, ring):
    """The end of the stream is seen long before its bytes are taken."""
    client, upstream = pair(relay(ring), backend)
    data = pattern(3_000_000)
    thread = client.send_in_background(data)
    upstream.receive(1000)
    thread.join(1)
    client.sock.settimeout(PATIENCE)
    rest = threading.Thread(target=lambda: (thread.join(PATIENCE), client.half_close()))
    rest.start()
    assert upstream.receive_hash(len(data) - 1000) == hash_of(data[1000:])
    upstream.expect_end()
    rest.join()


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_ends_the_other_side_with_a_reset(relay, backend, ring, first):
    client, upstream = pair(relay(ring), backend)
    client.send("up")
    upstream.expect("up").send("down")
    client.expect("down")
    one, other = (client, upstream) if first == "client" else (upstream, client)
    one.reset()
    other.expect_reset()


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_in_the_middle_of_a_stream(relay, backend, ring, first):
    client, upstream = pair(relay(ring), backend)
    one, other = (client, upstream) if first == "client" else (upstream, client)
    sending = other.send_in_background(pattern(30_000_000))
    one.receive(100_000)
    one.reset()
    sending.join(PATIENCE)
    assert not sending.is_alive()


def test_what_came_before_a_reset_arrives(relay, backend, ring):
    """A server that answers and leaves with unread bytes in its socket resets the connection behind its answer."""
    client, upstream = pair(relay(ring), backend)
    client.send("a request that nobody reads")
    assert select.select([upstream.sock], [], [], PATIENCE)[0], "the request has come"
    upstream.send(pattern(30_000))
    client.receive(20_000)
    upstream.close()
    assert client.receive(10_000) == pattern(30_000)[20_000:]
    client.expect_reset()


def test_idle_relays_end_in_order(relay, backend, ring):
    client, upstream = pair(relay(ring, timeouts={"idle": 0.8}), backend)
    for _ in range(10):
        client.expect_silence(0.1)  # longer than that on a busy machine: far from 0.8, but more than that in all
        upstream.send("x")
        client.expect("x")
    client.expect_end()
    upstream.expect_end()


def test_a_side_that_takes_nothing_ends_the_relay(relay, backend, ring):
    server = relay(ring, timeouts={"write": 0.5})
    client, upstream = pair(server, backend)
    sending = client.send_in_background(pattern(60_000_000))
    sending.join(PATIENCE)
    assert not sending.is_alive()
    try:
        assert len(upstream.rest()) < 60_000_000
    except ConnectionResetError:
        pass


# ---- connecting ----


def test_a_server_that_refuses(relay, backend):
    target = backend.target
    server = relay()
    backend.close()
    for _ in range(3):
        expect_refusal(server)
        server.log.expect(f"cannot reach {target} for conn .*: refused")


def expect_refusal(server):
    """The reset may be there before connect() has returned."""
    server.log.wait("is ready")
    server._ready.add(0)
    try:
        server.connect().expect_reset()
    except ConnectionResetError:
        pass


def test_a_unix_socket_that_is_not_there(relay, tmp_path):
    server = relay(target=f"unix:{tmp_path}/absent.sock")
    expect_refusal(server)
    server.log.expect("absent.sock.*refused")


def test_a_server_that_does_not_answer(relay, blackhole):
    server = relay(target=blackhole.target, timeouts={"connect": 0.3})
    client = server.connect()
    client.send("hello?")
    client.expect_reset()
    server.log.expect("timeout")


@pytest.mark.parametrize("how", ["reset", "reset with bytes", "end"])
def test_a_client_that_leaves_while_connecting(relay, blackhole, how):
    """Its connection attempt is given up: at once when it resets, soon when it ends its stream without a byte."""
    server = relay(target=blackhole.target, timeouts={"connect": 60})
    server.log.wait("is ready")
    before = server.descriptors()
    clients = server.connect_many(5)
    until(lambda: server.descriptors() == before + 10, f"ten more descriptors than {before}")
    for client in clients:
        if how == "reset with bytes":
            client.send(pattern(10_000))
        if how == "end":
            client.close()
        else:
            client.reset()
    until(lambda: server.descriptors() == before, f"as many descriptors as {before}")
    server.log.allow("timeout")


def test_a_server_that_comes_and_goes(relay, backend):
    """Connections through one that is restarted: each is served, or ends with a reset."""
    server = relay()
    server.log.allow("cannot reach")
    address, served = backend.sock.getsockname(), 0
    client, upstream = pair(server, backend)
    for _ in range(5):
        backend.close()
        expect_refusal(server)
        backend.__init__(address)
        for _ in range(5):
            client, upstream = pair(server, backend)
            upstream.send("up again")
            client.expect("up again")
            served += 1
    assert served == 25


def test_more_clients_than_slots(relay, backend):
    """A relay takes two slots: who finds none is reset, and the others go on."""
    server = relay({"max_connections": 6})
    server.log.allow("max_connections")
    pairs = [pair(server, backend) for _ in range(3)]
    for client, upstream in pairs:
        upstream.send("x")
        client.expect("x")
    pairs[0][0].close()
    pairs[0][1].expect_end()
    pairs[0][1].close()
    for _ in range(20):
        late = server.connect()
        late.sock.settimeout(0.5)
        try:
            backend.sock.settimeout(0.5)
            backend.accept().send("y")
            late.expect("y")
            return
        except (TimeoutError, ConnectionResetError, AssertionError):
            late.close()
    raise AssertionError("nobody got the slots that were given back")


# ---- back-pressure ----


@pytest.mark.parametrize("slow", ["server", "client"])
def test_a_side_that_does_not_read_holds_up_the_other(relay, backend, ring, slow):
    """Memory stays bounded, the sender blocks, and every byte arrives in the end."""
    server = relay(ring)
    client, upstream = pair(server, backend)
    sender, reader = (client, upstream) if slow == "server" else (upstream, client)
    before = server.resident_bytes()
    sent = sender.send_until_blocked(256 << 20)
    assert sent < 64 << 20
    assert server.resident_bytes() - before < (16 << 20) * (SCALE if SCALE > 1 else 1)
    got = reader.receive(sent)
    assert got == bytes(sent)
    sender.send("more").half_close()
    assert reader.rest() == b"more"


def test_stuck_relays_leave_buffers_for_the_others(relay, backend, ring):
    """Many peers that do not read, on a small ring: bytes still move between those that do."""
    server = relay(ring)
    stuck = [pair(server, backend) for _ in range(12)]
    sent = [client.send_until_blocked(64 << 20, quiet=0.05) for client, _ in stuck]
    client, upstream = pair(server, backend)
    for number in range(20):
        client.send(pattern(20_000, number))
        upstream.expect(pattern(20_000, number)).send(pattern(20_000, -number))
        client.expect(pattern(20_000, -number))
    for (sender, reader), count in zip(stuck, sent):
        assert reader.receive(count) == bytes(count)
        sender.close()
        reader.expect_end()


def test_stuck_relays_leave_buffers_for_scripts(zerg, backend, ring):
    server = zerg("for data in conn:reads() do conn:write(data) end", reactor=ring,
                  listeners=[{"address": "127.0.0.1", "forward": backend.target}, {"address": "127.0.0.1"}])
    stuck = [pair(server, backend) for _ in range(8)]
    for client, _ in stuck:
        client.send_until_blocked(64 << 20, quiet=0.05)
    server.connect(1).ask(pattern(100_000))


def test_a_stop_cuts_relays(relay, backend):
    server = relay()
    client, upstream = pair(server, backend)
    client.send("x")
    upstream.expect("x")
    sender = client.send_in_background(pattern(50_000_000))
    server.send_signal(signal.SIGINT)
    assert server.wait_exit() == 0
    sender.join(PATIENCE)


def test_proxy_on_the_command_line(zerg, backend):
    port = free_port()
    server = zerg.proxy("--reactors", "1", f"127.0.0.1:{port}", backend.target, port=port)
    client, upstream = pair(server, backend)
    client.send("through")
    upstream.expect("through")
    done = zerg.command("proxy", "--tcp", f"127.0.0.1:{port}", "db")
    assert done.returncode == 2 and "TARGET: expected an address" in done.stderr
