"""Bodies through the reverse proxy: streamed both ways as they come, held up by who does not read, and ended with who
has gone."""

import contextlib
import hashlib
import threading
import time

import pytest

from httpserver import answered, both_ways
from httptalk import answer, chunked, get, head, post
from peer import hash_of, pattern

GIGABYTE = 1 << 30
BLOCK = pattern(1 << 20)
GROWTH_MAX = 16 << 20


def begin_upload(client, upstream, size):
    client.send(get("/", f"Content-Length: {size}", method="POST"))
    peer = upstream.accept()
    assert int(peer.head()["Content-Length"]) == size
    return peer


def begin_download(client, upstream, size):
    client.send(get("/"))
    peer, _ = upstream.accept_request()
    peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
    assert {name.lower(): value for name, value in head(client)[1]}["content-length"] == str(size)
    return peer


def test_parts_of_bodies_go_on_as_they_come(proxy, upstream, engine):
    """Nobody waits for more: each part is sent when the other side has the one before."""
    client = proxy(upstream.target).connect()
    for _ in range(2):
        client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        peer = upstream.peers[-1] if upstream.peers else upstream.accept()
        assert peer.head()["Transfer-Encoding"] == "chunked"
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert head(client)[0] == 200
        for i in range(20):
            client.send(f"2\r\n{i:02}\r\n")
            assert peer.receive(7) == f"2\r\n{i:02}\r\n".encode()
            peer.send(f"3\r\n-{i:02}\r\n")
            assert client.receive(8) == f"3\r\n-{i:02}\r\n".encode()
        client.send("0\r\n\r\n")
        assert peer.receive(5) == b"0\r\n\r\n"
        peer.send("0\r\n\r\n")
        assert client.receive(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 262_144, 5_000_000])
def test_bodies_arrive_whole_however_long(proxy, upstream, engine, size):
    client = proxy(upstream.target, listener={"limits": {"body_bytes": "8m"}}).connect()
    both_ways(client, upstream, get("/", f"Content-Length: {size}", method="POST"), pattern(size))


def flood(peer, size):
    """Sends that much in the background."""

    def run():
        for _ in range(size // len(BLOCK)):
            peer.sock.sendall(BLOCK)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def hash_of_blocks(size):
    digest = hashlib.blake2b()
    for _ in range(size // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


BEGIN = {"up": begin_upload, "down": begin_download}


@pytest.mark.heavy
@pytest.mark.parametrize("way", BEGIN)
def test_a_gigabyte_needs_little_memory(proxy, upstream, quick_engine, way):
    server = proxy(upstream.target, listener={"limits": {"body_bytes": "2g"}})
    client = server.connect()
    upstream.turn(client, get("/"), answered("ok", "Connection: close"))
    assert answer(client).body == b"ok"
    before = server.resident_bytes()
    peer = BEGIN[way](client, upstream, GIGABYTE)
    source, sink = (client, peer) if way == "up" else (peer, client)
    sizes = []
    sender = flood(source, GIGABYTE)
    got = sink.receive_hash(GIGABYTE, lambda: sizes.append(server.resident_bytes()))
    assert got == hash_of_blocks(GIGABYTE)
    sender.join()
    assert len(sizes) > 500 and max(sizes) - before < GROWTH_MAX
    if way == "up":
        peer.send(answered())
        assert answer(client).body == b"ok"


@pytest.mark.parametrize("way", BEGIN)
def test_who_does_not_read_holds_the_other_up(proxy, upstream, engine, way):
    """What is under way is bounded, and the rest comes when it is read."""
    size = 64 << 20
    server = proxy(upstream.target, listener={"limits": {"body_bytes": "1g"}})
    client = server.connect()
    before = server.resident_bytes()
    peer = BEGIN[way](client, upstream, size)
    source, sink = (client, peer) if way == "up" else (peer, client)
    sent = source.send_until_blocked(size)
    assert sent < size, "nobody holds it up"
    assert server.resident_bytes() - before < GROWTH_MAX
    sender = source.send_in_background(bytes(size - sent))
    taken = bytes(sink.recorded[sink.used:]) if way == "up" else b""
    assert sink.receive_hash(size - len(taken)) == hash_of(bytes(size - len(taken)))
    sender.join()
    if way == "up":
        peer.send(answered())
        assert answer(client).body == b"ok"


def test_an_answer_may_come_before_the_end_of_the_body(proxy, upstream, engine):
    server = proxy(upstream.target)
    server.log.allow(upstream.target)
    for lines in ((), ("Connection: close",)):
        client = server.connect()
        peer = begin_upload(client, upstream, 500_000)
        client.send(bytes(100_000))
        peer.receive(100_000)
        peer.send(answered("too much", *lines, status="413 Content Too Large"))
        got = answer(client)
        assert (got.status, got.body) == (413, b"too much")
        if lines:
            peer.close()
        client.close()


def test_a_server_that_answers_and_goes_is_heard_by_who_still_sends(proxy, upstream, engine):
    """It closes with bytes unread, by which the kernel resets what the proxy sends; or the proxy goes before it."""
    server = proxy(upstream.target)
    server.log.allow(upstream.target)
    client = server.connect()
    client.send(get("/", "Content-Length: 900000", method="POST"))
    peer = upstream.accept()
    peer.head()
    sender = client.send_in_background(bytes(900_000))
    peer.send(answered("no", "Connection: close", status="403 Forbidden"))
    with contextlib.suppress(OSError):
        peer.half_close()
    got = answer(client)
    assert (got.status, got.body) == (403, b"no")
    peer.close()
    client.close()
    sender.join()


def test_the_limit_of_bodies_holds(proxy, upstream):
    server = proxy(upstream.target, listener={"limits": {"body_bytes": 100}})
    with server.connect() as client:
        upstream.turn(client, post("/", "x" * 100))
        assert answer(client).body == b"ok"
    with server.connect() as client:
        client.send(post("/", "x" * 101))
        assert answer(client).status == 413
    with server.connect() as client:
        client.send(chunked("/", "x" * 64, "x" * 64))
        assert answer(client).status == 413


def test_a_client_that_stops_in_its_body_gets_408(proxy, upstream):
    server = proxy(upstream.target, listener={"timeouts": {"body": 0.2}})
    client = server.connect()
    peer = begin_upload(client, upstream, 100)
    client.send("x" * 50)
    assert peer.receive(50) == b"x" * 50
    got = answer(client)
    assert got.status == 408 and got["Connection"] == "close" and client.rest() == b""
    peer.expect_gone()


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("line, rest", [("Content-Length: 1000", "x" * 990),
                                        ("Transfer-Encoding: chunked", "0\r\n\r\n")])
def test_a_server_that_goes_during_the_body_is_502(proxy, upstream, quick_engine, line, rest, way):
    """The client is told at once, and what it still sends of that body is of no other request."""
    server = proxy(upstream.target)
    server.log.allow(upstream.target)
    client = server.connect().send(get("/", line, method="PUT") + "5\r\nhello\r\n")
    peer = upstream.accept()
    peer.head()
    assert peer.upto(b"hello\r\n")
    getattr(peer, way)()
    got = answer(client)
    assert got.status == 502 and not upstream.is_called()
    if got["Connection"] != "close":
        upstream.turn(client, rest + get("/next"))
        assert answer(client).body == b"ok"


# ---- clients that go ----


def seconds_until_gone(server, upstream, way):
    """How long the server behind waits to hear of a client that has left."""
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    begun = time.monotonic()
    getattr(client, way)()
    peer.expect_gone()
    return time.monotonic() - begun


def test_a_client_that_resets_ends_its_request_at_once(proxy, upstream, engine):
    server = proxy(upstream.target)
    assert min(seconds_until_gone(server, upstream, "reset") for _ in range(4)) < 0.5, "as late as after a half-close"


@pytest.mark.parametrize("way", ["half_close", "close"])
def test_a_client_that_ends_its_stream_has_another_second(proxy, upstream, way):
    assert seconds_until_gone(proxy(upstream.target), upstream, way) > 0.9


def test_an_answer_within_that_second_arrives(proxy, upstream, engine):
    server = proxy(upstream.target)
    client = server.connect().send(get("/") + get("/next"))
    client.half_close()
    peer, _ = upstream.accept_request()
    peer.send(answered("one"))
    assert peer.request().target == "/next"
    peer.send(answered("two"))
    assert answer(client).body == b"one" and answer(client).body == b"two" and client.rest() == b""


@pytest.mark.parametrize("body", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_client_that_goes_in_its_body_leaves_no_whole_request(proxy, upstream, engine, body):
    server = proxy(upstream.target)
    client = server.connect().send(get("/", body, method="POST") + "a\r\n0123456789")
    peer = upstream.accept()
    peer.head()
    assert peer.receive(1)
    client.reset()
    with contextlib.suppress(ConnectionResetError, AssertionError):
        peer.receive(1000)
    assert not peer.recorded.endswith(b"0\r\n\r\n")


def test_a_client_that_goes_during_its_answer_ends_it(proxy, upstream, engine):
    server = proxy(upstream.target)
    client = server.connect()
    peer = begin_download(client, upstream, GIGABYTE)
    peer.send(bytes(100_000))
    client.receive(1000)
    client.reset()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            peer.send(BLOCK)
