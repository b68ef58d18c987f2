"""The reverse proxy and servers that fail: that are not there, full or slow, go at the wrong moment, lie about
lengths, or say what is no HTTP. A client gets a whole answer of the server, an error of the proxy, or an answer that
is visibly cut."""

import contextlib

import pytest

from httpserver import Answering, answered
from httptalk import answer, ask, chunked, get, head, post
from peer import SCALE, Blackhole
from talkers import Refusing


def failed(got, status):
    """An error of the proxy: short, as text, with nothing of where servers are."""
    assert got.status == status, (got.status, got.body)
    assert got["Content-Type"].startswith("text/plain") and len(got.body) < 200 and b"127.0.0.1" not in got.body
    return True


# ---- no server ----


def test_a_server_that_refuses_is_502_and_the_client_stays(proxy, behind, engine):
    server = behind(Refusing)
    front = proxy(server.target, max_fails=0)
    front.log.allow(server.target)
    client = front.connect()
    for text in (get("/"), post("/", "abc"), chunked("/", "abc"), get("/", method="HEAD")):
        got = ask(client, text)
        assert got.status == 502 and got["Connection"] is None
    assert failed(ask(client, get("/")), 502)
    front.log.expect(server.target)


def test_a_server_that_takes_no_connection_is_504_or_502(proxy, behind):
    server = behind(Blackhole)
    front = proxy(server.target, connect_timeout=0.2)
    got = ask(front.connect(), get("/"))
    assert got.status in (502, 504) and failed(got, got.status)
    front.log.expect(server.target)


def test_the_next_server_is_tried(proxy, behind, engine):
    front = proxy(behind(Refusing).target, behind(Answering, answered()).target, max_fails=0)
    front.log.allow("cannot")
    client = front.connect()
    for text in (get("/"), post("/", "abc"), chunked("/", "abc")) * 2:
        assert ask(client, text).body == b"ok"


def test_a_server_that_says_nothing_is_504(proxy, upstream, engine):
    front = proxy(upstream.target, read_timeout=0.2)
    client = front.connect()
    for _ in range(2):
        peer, _ = upstream.turn(client, get("/"), b"")
        got = answer(client)
        assert failed(got, 504) and got["Connection"] is None
        front.log.expect(upstream.target)
        peer.expect_gone()
    assert not upstream.is_called()


def test_a_server_that_stops_in_its_head_is_504(proxy, upstream):
    front = proxy(upstream.target, read_timeout=0.2)
    client = front.connect()
    peer, _ = upstream.turn(client, get("/"), b"HTTP/1.1 200 OK\r\nContent-Le")
    assert failed(answer(client), 504)
    front.log.expect(upstream.target)
    peer.expect_gone()


def test_a_server_that_stops_in_its_body_has_its_answer_cut(proxy, upstream):
    front = proxy(upstream.target, read_timeout=0.2)
    front.log.allow(upstream.target)
    client = front.connect()
    peer, _ = upstream.turn(client, get("/"), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    assert head(client)[0] == 200 and client.receive(3) == b"abc"
    with contextlib.suppress(ConnectionResetError):
        assert client.rest() == b""
    peer.expect_gone()


def test_a_time_out_is_not_for_those_who_go_on(proxy, upstream):
    """Each part comes within the time, all of them do not."""
    front = proxy(upstream.target, read_timeout=2 * SCALE)
    client = front.connect()
    peer, _ = upstream.turn(client, get("/"), b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
    assert head(client)[0] == 200
    for _ in range(8):
        client.expect_silence(0.3 * SCALE)
        peer.send("x")
        assert client.receive(1) == b"x"
    upstream.turn(client, get("/"), peer=peer)
    assert answer(client).body == b"ok"


def test_a_server_is_not_to_blame_for_a_slow_client(proxy, upstream):
    """Neither for one that sends its body slowly, nor for one that does not read the answer."""
    front = proxy(upstream.target, read_timeout=SCALE)
    client = front.connect().send(get("/", "Content-Length: 1", method="POST"))
    peer = upstream.accept()
    assert peer.head()["Content-Length"] == "1"
    peer.expect_silence(1.5 * SCALE)
    client.send("x")
    assert peer.receive(1) == b"x"
    size = 64 << 20
    peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
    sent = peer.send_until_blocked(size, quiet=1.5)
    assert sent < size, "nobody holds it up"
    sender = peer.send_in_background(bytes(size - sent))
    assert answer(client).body == bytes(size)
    sender.join()


@pytest.mark.parametrize("queue", [{"queue": 0}, {"queue_timeout": 0.2}], ids=["none", "too long"])
def test_full_servers_are_503(proxy, upstream, engine, queue):
    front = proxy(upstream.target, max_connections=1, **queue)
    front.log.allow("app|" + upstream.target)
    first, second = front.connect().send(get("/")), front.connect()
    peer, _ = upstream.accept_request()
    assert failed(ask(second, get("/")), 503)
    peer.send(answered())
    assert answer(first).body == b"ok"


def test_who_waits_in_the_queue_is_served_in_turn(proxy, upstream):
    front = proxy(upstream.target, max_connections=1)
    clients = [front.connect() for _ in range(3)]
    peer, request = upstream.turn(clients[0], get("/0"), b"")
    for i in (1, 2):
        clients[i].send(get(f"/{i}"))
    for i, client in enumerate(clients):
        assert request.target == f"/{i}"
        peer.send(answered(f"{i}", "Connection: close"))
        assert answer(client).body == f"{i}".encode()
        peer.expect_gone()
        if i < 2:
            peer, request = upstream.accept_request()


# ---- no answer, or none that is one ----

LENGTH = b"Content-Length: 2\r\n"
WRONG = {
    "nothing": b"",
    "part_of_the_first_line": b"HTTP/1.1 2",
    "part_of_the_head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "only_100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no_http": b"SSH-2.0-OpenSSH_9.2\r\n\r\nok",
    "http_0_9": b"<html>hello</html>\n",
    "http_2": b"HTTP/2 200 OK\r\n" + LENGTH + b"\r\nok",
    "noughts": bytes(1000),
    "short_status": b"HTTP/1.1 20 OK\r\n" + LENGTH + b"\r\nok",
    "long_status": b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\nok",
    "status_of_letters": b"HTTP/1.1 abc OK\r\n" + LENGTH + b"\r\nok",
    "status_below_100": b"HTTP/1.1 099 OK\r\n" + LENGTH + b"\r\nok",
    "switch_unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nok",
    "two_lengths": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"Content-Length: 3\r\n\r\nokk",
    "list_of_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nokk",
    "length_and_chunked": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length_negative": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "length_of_letters": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "length_past_all": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
    "unknown_encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, magic\r\n\r\nok",
    "blank_before_colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "fold": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"A: b\r\n c\r\n\r\nok",
    "no_colon": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"Set-Cookie\r\n\r\nok",
    "nul_in_a_field": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"A: b\0c\r\n\r\nok",
    "cr_in_a_field": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"A: b\rSet-Cookie: c\r\n\r\nok",
    "cr_in_the_reason": b"HTTP/1.1 200 OK\rSet-Cookie: c\r\n" + LENGTH + b"\r\nok",
    "head_past_all": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"A: " + b"x" * 200_000 + b"\r\n\r\nok",
    "fields_past_all": b"HTTP/1.1 200 OK\r\n" + LENGTH + b"A: b\r\n" * 10_000 + b"\r\nok",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_answer_is_502(proxy, behind, name):
    server = behind(Answering, WRONG[name], True)
    front = proxy(server.target, max_fails=0)
    front.log.allow(server.target)
    client = front.connect()
    for method in ("GET", "POST"):
        got = ask(client, get("/", method=method))
        while got.status == 100:
            got = answer(client)
        assert failed(got, 502) and got["Connection"] is None and got["Set-Cookie"] is None
    front.log.expect(server.target)


CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "no_byte": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "all_but_one": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012345678",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "between_chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "last_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
    "trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n",
    "chunk_too_long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "no_chunk_size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n\r\n0\r\n\r\n",
    "negative_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n-1\r\n\r\n0\r\n\r\n",
    "huge_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nfffffffffffffffff\r\n",
}


def until_the_end(client):
    """All that comes, and whether the end was a reset."""
    got = b""
    try:
        while part := client.sock.recv(1 << 16):
            got += part
    except ConnectionResetError:
        return got, True
    return got, False


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_breaks_off_is_never_complete(proxy, behind, name, version):
    """502 where nothing was passed on yet; else the client sees that the end is missing: by a reset, where the answer
    ends with the connection."""
    server = behind(Answering, CUT[name], True)
    front = proxy(server.target, max_fails=0)
    front.log.allow(server.target)
    got, is_reset = until_the_end(front.connect().send(get("/", "Connection: close", version=version)))
    if got.startswith(b"HTTP/1.1 502 "):
        return
    text, _, body = got.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" in text.lower():
        assert version == "1.1" and not body.endswith(b"0\r\n\r\n"), got
    elif b"\r\ncontent-length: 10" in text.lower():
        assert len(body) < 10, got
    else:
        assert is_reset, got


EVIL = answered("evil", "X-Evil: 1")


@pytest.mark.parametrize("reply", [
    answered() + EVIL, answered() + b"x", answered() + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + EVIL,
    b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL, b"HTTP/1.1 304 Not Modified\r\n\r\n" + EVIL,
], ids=["answer", "byte", "lines", "chunks", "204", "304"])
def test_bytes_behind_an_answer_are_of_no_other(proxy, upstream, engine, reply):
    """However they come: with the answer, or when the client has it already and the connection is idle."""
    front = proxy(upstream.target, top={"reactors": 1})
    front.log.allow(upstream.target)
    at = reply.index(EVIL) if EVIL in reply else reply.index(b"\r\n\r\nok") + 6
    for together in (True, False):
        client, other = front.connect(), front.connect()
        peer, _ = upstream.turn(client, get("/"), reply if together else reply[:at])
        assert answer(client).status == int(reply[9:12])
        if not together:
            peer.send(reply[at:])
        peer.expect_gone()
        for who in (client, other):
            upstream.turn(who, get("/"), answered("good", "Connection: close"))
            assert answer(who).body == b"good"


def test_a_body_behind_the_answer_to_head_is_of_no_other(proxy, upstream):
    front = proxy(upstream.target)
    front.log.allow(upstream.target)
    client = front.connect()
    upstream.turn(client, get("/", method="HEAD"), EVIL)
    assert answer(client, "HEAD")["Content-Length"] == "4"
    upstream.turn(client, get("/"), answered("good"))
    assert answer(client).body == b"good"


# ---- connections that have gone stale ----


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_what_may_be_repeated_is_when_an_idle_connection_has_ended(proxy, upstream, method, way):
    """The server ends it when the request is under way already; it would have done so without that."""
    front = proxy(upstream.target)
    front.log.allow(upstream.target)
    client = front.connect()
    peer, _ = upstream.turn(client, get("/"))
    assert answer(client).body == b"ok"
    client.send(get("/again", method=method))
    assert peer.request().target == "/again"
    getattr(peer, way)()
    fresh, request = upstream.accept_request()
    assert (request.method, request.target) == (method, "/again")
    fresh.send(answered() if method != "HEAD" else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert answer(client, method).status == 200
    assert not upstream.is_called()


@pytest.mark.parametrize("retries", [0, 2])
def test_it_is_repeated_once_beside_retries(proxy, upstream, retries):
    front = proxy(upstream.target, retries=retries, max_fails=0)
    front.log.allow(upstream.target)
    client = front.connect()
    peer, _ = upstream.turn(client, get("/"))
    assert answer(client).body == b"ok"
    client.send(get("/"))
    for server in (peer, *[None] * (1 + retries)):
        server = server or upstream.accept()
        assert server.request()
        server.close()
    assert failed(answer(client), 502) and not upstream.is_called()


@pytest.mark.parametrize("text", [post("/", "abc"), chunked("/", "abc")], ids=["length", "chunked"])
def test_what_may_not_be_repeated_is_502(proxy, upstream, text):
    front = proxy(upstream.target)
    front.log.allow(upstream.target)
    client = front.connect()
    peer, _ = upstream.turn(client, get("/"))
    assert answer(client).body == b"ok"
    client.send(text)
    assert peer.request().body == b"abc"
    peer.close()
    assert failed(answer(client), 502)
    assert not upstream.is_called()
    upstream.turn(client, text)
    assert answer(client).body == b"ok"


def test_nothing_is_repeated_of_which_an_answer_has_begun(proxy, upstream):
    front = proxy(upstream.target)
    front.log.allow(upstream.target)
    client = front.connect()
    peer, _ = upstream.turn(client, get("/"))
    assert answer(client).body == b"ok"
    client.send(get("/"))
    assert peer.request()
    peer.send("HTTP/1.1 20").close()
    assert failed(answer(client), 502)
    assert not upstream.is_called()


def test_idle_connections_that_have_ended_are_not_used(proxy, upstream, engine):
    """The server has gone before the request came: also what may not be repeated gets its answer."""
    client = proxy(upstream.target, top={"reactors": 1}).connect()
    for _ in range(5):
        peer, _ = upstream.turn(client, post("/", "abc"))
        assert answer(client).body == b"ok"
        peer.half_close()
        peer.expect_gone()


# ---- errors and the client's connection ----


def test_a_body_that_is_still_to_come_does_not_hold_up_an_error(proxy, behind):
    server = behind(Refusing)
    front = proxy(server.target)
    front.log.allow(server.target)
    client = front.connect().send(get("/", "Content-Length: 1000000", method="POST") + "x" * 1000)
    got = answer(client)
    assert failed(got, 502) and got["Connection"] == "close"


# ---- what health learns ----


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-none\r\n\r\n"], ids=["breaks", "garbage"])
def test_a_server_that_keeps_failing_is_left_out(proxy, behind, words):
    bad, good = behind(Answering, words, True), behind(Answering, answered())
    front = proxy(bad.target, good.target, max_fails=2, fail_timeout=60, retries=0)
    front.log.allow("502 Bad Gateway")
    client = front.connect()
    statuses = [ask(client, get("/", method="DELETE")).status for _ in range(12)]
    assert sorted(statuses) == [200] * 10 + [502] * 2
    front.log.expect(f"server {bad.target} is not used for 60.0 s: it failed 2 times")


def test_what_breaks_is_not_asked_again_when_there_is_another(proxy, behind):
    asked = 0
    for _ in range(6):  # in about half of them the hash says the one that breaks
        bad, good = behind(Answering, b"", True), behind(Answering, answered())
        front = proxy(bad.target, good.target, balance="hash", max_fails=0)
        assert ask(front.connect(), get("/")).status == 200
        asked += len(bad.requests)
    assert asked > 0
