"""The reverse proxy between a client and a server that keep to the rules: what of a request and of its answer goes
on, how messages are framed on both sides, and which connections are used again."""

import re

import pytest

from httpserver import FORWARDED, Answering, Upstream, answered, answered_in_chunks
from httptalk import answer, ask, chunked, get, head, post


# ---- what goes on ----


def test_a_request_and_its_answer_go_on_as_they_came(proxy, upstream, engine):
    client = proxy(upstream.target).connect()
    _, request = upstream.turn(client, get("/a%20b/../c?d=%zz&e", "User-Agent: me", "x-tag: 1", "X-Tag:  2 "),
                               answered("hello", "X-B: 1", "x-b: 2", "Server: other", status="201 Made It"))
    assert request.line == "GET /a%20b/../c?d=%zz&e HTTP/1.1"
    assert request["Host"] == "a.example" and request["User-Agent"] == "me" and request.all("X-Tag") == ["1", "2"]
    assert request["Content-Length"] is None and request["Transfer-Encoding"] is None
    got = answer(client)
    assert (got.status, got.body) == (201, b"hello") and got["X-B"] == ["1", "2"] and got["Server"] == "other"
    assert got["Connection"] is None and got["Content-Length"] == "5"


def test_the_server_is_told_of_the_client(proxy, upstream, engine):
    server = proxy(upstream.target)
    client = server.connect()
    peer, first = upstream.turn(client, get("/"))
    assert answer(client).body == b"ok"
    _, second = upstream.turn(client, get("/"), peer=peer)
    assert [first[name] for name in FORWARDED[:-1]] == ["127.0.0.1", "http", "a.example", str(server.port), "127.0.0.1"]
    assert re.fullmatch(r"[\w-]{16,64}", first["X-Request-ID"]) and first["X-Request-ID"] != second["X-Request-ID"]


LIES = [f"{name}: 192.0.2.{i}" for i, name in enumerate(FORWARDED)]


def test_what_a_client_says_of_itself_is_not_believed(proxy, upstream):
    server = proxy(upstream.target)
    _, request = upstream.turn(server.connect(), get("/", *LIES, *map(str.lower, LIES)))
    assert not any("192.0.2" in value for _, value in request.fields), request.head
    assert all(request[name] for name in FORWARDED)


def test_what_a_proxy_says_is_believed_when_it_is_trusted(proxy, upstream):
    client = proxy(upstream.target, listener={"trusted": ["127.0.0.0/8"]}).connect()
    peer, request = upstream.turn(client, get("/", *LIES))
    assert request["X-Forwarded-For"] == "192.0.2.0, 127.0.0.1"
    assert [request[name] for name in FORWARDED[1:]] == [f"192.0.2.{i}" for i in range(1, 6)]
    assert answer(client).body == b"ok"
    _, request = upstream.turn(client, get("/"), peer=peer)
    assert request["X-Forwarded-For"] == "127.0.0.1" and all(request[name] for name in FORWARDED)


def test_others_are_not_believed_where_somebody_is(proxy, upstream):
    server = proxy(upstream.target, listener={"trusted": ["192.0.2.0/24"]})
    _, request = upstream.turn(server.connect(), get("/", *LIES))
    assert request["X-Forwarded-For"] == "127.0.0.1"


def test_a_client_is_who_a_proxy_header_says(proxy, upstream):
    server = proxy(upstream.target, listener={"proxy_protocol": True})
    client = server.connect().send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 8080\r\n")
    _, request = upstream.turn(client, get("/"))
    assert request["X-Forwarded-For"] == request["X-Real-IP"] == "192.0.2.1"


def test_a_server_may_be_told_by_a_proxy_header(proxy, upstream):
    """A connection that began with one is for that client alone, whether it is kept or not."""
    server = proxy(upstream.target, proxy_protocol=1)
    said = {}
    for client in server.connect_many(2) * 2:
        client.send(get("/"))
        peer = said.get(client.name)
        request = peer and peer.request()
        if not request:
            peer = said[client.name] = upstream.accept()
            assert peer.line() == "PROXY TCP4 127.0.0.1 127.0.0.1 %d %d" % (client.name[1], server.port)
            request = peer.request()
        assert request.target == "/"
        peer.send(answered())
        assert answer(client).body == b"ok"


HOP_BY_HOP = ("Connection: close, X-Hop ,x-other", "X-Hop: 1", "X-Other: 1", "Keep-Alive: timeout=5",
              "Proxy-Connection: keep-alive", "TE: trailers", "Upgrade: h2c")


def test_fields_of_one_connection_do_not_go_to_the_next(proxy, upstream, engine):
    client = proxy(upstream.target).connect()
    _, request = upstream.turn(client, get("/", *HOP_BY_HOP, "X-Stays: 1"),
                               answered("ok", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "X-Stays: 1"))
    for name in ("X-Hop", "X-Other", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade"):
        assert request.all(name) == [], request.head
    assert request["X-Stays"] == "1" and request["Connection"] in (None, "keep-alive")
    got = answer(client)
    assert got["X-Hop"] is None and got["Keep-Alive"] is None and got["X-Stays"] == "1"
    assert got["Connection"] == "close" and client.rest() == b""


def test_a_client_cannot_have_removed_what_a_server_needs(proxy, upstream):
    client = proxy(upstream.target).connect()
    _, request = upstream.turn(client, post("/", "hello", "Connection: " + ", ".join(FORWARDED)))
    assert request.body == b"hello" and all(request[name] for name in FORWARDED)
    assert answer(client).body == b"ok"


def test_chunks_may_be_named_as_of_one_connection(proxy, behind):
    """They are; what goes on is in chunks all the same."""
    server = behind(Answering, answered())
    client = proxy(server.target).connect()
    text = chunked("/", get("/evil")).replace("\r\nTransfer", "\r\nConnection: transfer-encoding\r\nTransfer")
    assert ask(client, text).body == b"ok" and ask(client, get("/next")).body == b"ok"
    got = [(request.target, request.body) for request in server.requests]
    assert got == [("/", get("/evil").encode()), ("/next", b"")]


@pytest.mark.parametrize("name", ["Host", "Content-Length"])
def test_a_client_that_would_have_removed_what_frames_a_request_is_refused(proxy, behind, name):
    server = behind(Answering, answered())
    front = proxy(server.target)
    for text in (post("/", get("/evil"), f"Connection: {name}"), chunked("/", get("/evil")).replace(
            "\r\nTransfer", f"\r\nConnection: x, {name.lower()}\r\nTransfer")):
        with front.connect() as client:
            assert ask(client, text).status == 400 and client.rest() == b""
    assert server.received == b""


@pytest.mark.parametrize("method, target, expected", [
    ("GET", "http://a.example/x?y", "/x?y"), ("GET", "http://a.example", "/"), ("GET", "HTTP://A.example?y", "/?y"),
    ("GET", "//a.example/x", "//a.example/x"), ("OPTIONS", "*", "*"), ("OPTIONS", "http://a.example", "*"),
])
def test_targets_are_those_of_a_server(proxy, upstream, method, target, expected):
    client = proxy(upstream.target).connect()
    _, request = upstream.turn(client, get(target, method=method))
    assert request.line == f"{method} {expected} HTTP/1.1" and request["Host"].lower() == "a.example"


def test_one_host_is_meant_and_no_other(proxy, behind):
    """The target's goes before the field's (RFC 9112, section 3.2.2), or the request is refused."""
    server = behind(Answering, answered())
    got = ask(proxy(server.target).connect(), get("http://b.example/x"))
    assert got.status in (200, 400)
    assert [request["Host"] for request in server.requests] == (["b.example"] if got.status == 200 else [])


# ---- how it is framed ----


def test_bodies_are_framed_as_they_came(proxy, upstream, engine):
    client = proxy(upstream.target).connect()
    peer, request = upstream.turn(client, post("/", "0123456789"))
    assert request["Content-Length"] == "10" and request.body == b"0123456789" and answer(client).body == b"ok"
    _, request = upstream.turn(client, post("/", ""), peer=peer)
    assert request["Content-Length"] == "0" and answer(client).body == b"ok"
    text = get("/", "Transfer-Encoding: chunked", "Trailer: X-T", method="POST")
    text += "5;a=b\r\nhello\r\n1;c=\"d\"\r\n!\r\n0;e\r\nX-T: 1\r\nX-U: 2\r\n\r\n"
    _, request = upstream.turn(client, text, peer=peer)
    assert request.body == b"hello!" and request.trailers == [("X-T", "1"), ("X-U", "2")]
    assert not any(";" in line for line in request.chunk_lines), request.chunk_lines
    assert answer(client).body == b"ok"


def test_answers_in_chunks_go_on_with_their_trailers(proxy, upstream, engine):
    client = proxy(upstream.target).connect()
    for _ in range(2):
        peer = upstream.peers[-1] if upstream.peers else None
        upstream.turn(client, get("/", "TE: trailers"),
                      answered_in_chunks("one,", "two", lines=("Trailer: X-T",), trailers="X-T: 1\r\n"), peer=peer)
        status, fields = head(client)
        assert status == 200 and ("Transfer-Encoding", "chunked") in fields
        body = b""
        while size := int(client.line(), 16):
            body += client.receive(size + 2)[:-2]
        assert body == b"one,two" and client.line() == "X-T: 1\r" and client.line() == "\r"


def test_an_answer_that_ends_with_its_connection_is_whole(proxy, behind, engine):
    for version in ("1.0", "1.1"):
        server = behind(Answering, f"HTTP/{version} 200 OK\r\nX-A: 1\r\n\r\n".encode() + b"x" * 100_000, True)
        client = proxy(server.target).connect()
        got = ask(client, get("/"))
        assert (got.status, got["X-A"], got.body) == (200, "1", b"x" * 100_000)
        if got["Connection"] is None:
            assert ask(client, get("/")).body == got.body


def test_a_server_of_1_0_is_served_as_well(proxy, behind):
    server = behind(Answering, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", True)
    client = proxy(server.target).connect()
    for _ in range(3):
        assert ask(client, get("/")).body == b"ok"


def test_old_clients_get_what_they_understand(proxy, behind, engine):
    server = behind(Answering, answered_in_chunks("one,", "two", trailers="X-T: 1\r\n"))
    front = proxy(server.target)
    for lines in ((), ("Connection: keep-alive",)):
        with front.connect() as client:
            got = ask(client, get("/", *lines, version="1.0"))
            assert got["Transfer-Encoding"] is None and got.body == b"one,two" and client.rest() == b""
    assert [request.version for request in server.requests] == ["HTTP/1.1"] * 2


def test_old_clients_may_keep_their_connection(proxy, behind):
    client = proxy(behind(Answering, answered()).target).connect()
    for _ in range(3):
        got = ask(client, get("/", "Connection: keep-alive", version="1.0"))
        assert got["Connection"] == "keep-alive" and got.body == b"ok"
    got = ask(client, get("/", version="1.0"))
    assert got["Connection"] == "close" and client.rest() == b""


NO_CONTENT = {
    "head": ("HEAD", "200 OK", ("Content-Length: 1000",)),
    "head_in_chunks": ("HEAD", "200 OK", ("Transfer-Encoding: chunked",)),
    "head_without_length": ("HEAD", "200 OK", ()),
    "204": ("GET", "204 No Content", ()),
    "304": ("GET", "304 Not Modified", ("Content-Length: 1000", "ETag: \"x\"")),
    "304_without_length": ("GET", "304 Not Modified", ("ETag: \"x\"",)),
}


@pytest.mark.parametrize("name", NO_CONTENT)
def test_answers_without_content_keep_both_connections_in_step(proxy, upstream, name):
    method, status, lines = NO_CONTENT[name]
    client = proxy(upstream.target).connect()
    reply = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()
    peer, request = upstream.turn(client, get("/", method=method), reply)
    assert request.method == method
    got = answer(client, method)
    assert got.status == int(status[:3]) and got["ETag"] == ('"x"' if "304" in status else None)
    assert got["Content-Length"] == ("1000" if "Content-Length: 1000" in lines else None)
    upstream.turn(client, get("/"), peer=peer)
    assert answer(client).body == b"ok"


# ---- answers that are not the last ----


def test_100_comes_from_the_server(proxy, upstream, engine):
    client = proxy(upstream.target).connect()
    client.send(get("/", "Expect: 100-continue", "Content-Length: 5", method="POST"))
    peer = upstream.accept()
    request = peer.head()
    assert request["Expect"] == "100-continue"
    client.expect_silence(0.05)
    peer.send("HTTP/1.1 100 Continue\r\n\r\n")
    assert head(client) == (100, [])
    client.send("12345")
    peer.read_body(request)
    peer.send(answered(request.body))
    assert answer(client).body == b"12345"


def test_a_server_may_refuse_a_body_that_it_was_asked_about(proxy, upstream):
    client = proxy(upstream.target).connect()
    client.send(get("/", "Expect: 100-continue", "Content-Length: 5", method="POST"))
    peer = upstream.accept()
    peer.head()
    peer.send(answered("no", status="417 Expectation Failed"))
    got = answer(client)
    assert (got.status, got.body) == (417, b"no")


def test_early_hints_go_on(proxy, upstream, engine):
    client = proxy(upstream.target).connect()
    hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    peer, _ = upstream.turn(client, get("/"), hints)
    for _ in range(2):
        assert head(client) == (103, [("Link", "</a.css>")])
        peer.send(hints)
    assert head(client)[0] == 103
    peer.send(answered())
    assert answer(client).body == b"ok"


def test_old_clients_are_spared_hints(proxy, behind):
    server = behind(Answering, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + answered())
    got = ask(proxy(server.target).connect(), get("/", version="1.0"))
    assert (got.status, got.body) == (200, b"ok")


# ---- connections ----


def test_connections_to_servers_are_used_again(proxy, upstream, engine):
    server = proxy(upstream.target, top={"reactors": 1})
    first, second = server.connect(), server.connect()
    peer, _ = upstream.turn(first, get("/1"))
    assert answer(first).body == b"ok"
    for client, text in ((first, post("/2", "abc")), (second, chunked("/3", "abc")),
                         (first, get("/4", "Connection: close")), (second, get("/5", version="1.0")),
                         (server.connect(), get("/6", method="HEAD"))):
        reply = answered() if not text.startswith("HEAD") else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        upstream.turn(client, text, reply, peer)
        assert answer(client, text.split(" ")[0]).status == 200
    assert not upstream.is_called()


def test_connections_are_not_kept_where_none_are_to_be(proxy, behind, engine):
    server = behind(Answering, answered())
    client = proxy(server.target, keepalive=0).connect()
    for _ in range(3):
        assert ask(client, get("/")).body == b"ok"
    assert len(server.backend.peers) == 3


def test_as_many_idle_connections_are_kept_as_may_be(proxy, upstream):
    server = proxy(upstream.target, keepalive=1)
    clients = server.connect_many(2)
    both = []
    for client in clients:
        client.send(get("/"))
        both.append(upstream.accept_request()[0])
    for client, peer in zip(clients, both):
        peer.send(answered())
        assert answer(client).body == b"ok"
    both[0].expect_gone()
    upstream.turn(clients[0], get("/"), peer=both[1])
    assert answer(clients[0]).body == b"ok"


def test_a_server_at_a_unix_socket(proxy, behind, tmp_path):
    server = behind(Upstream, str(tmp_path / "socket"))
    client = proxy(server.target).connect()
    _, request = server.turn(client, get("/"))
    assert request["Host"] == "a.example" and answer(client).body == b"ok"


def test_a_server_that_says_close_is_not_asked_again(proxy, upstream):
    client = proxy(upstream.target).connect()
    for _ in range(2):
        peer, _ = upstream.turn(client, get("/"), answered("ok", "Connection: close"))
        got = answer(client)
        assert got.body == b"ok" and got["Connection"] is None
        peer.expect_gone()


def test_pipelined_requests_are_answered_in_order(proxy, behind, engine):
    server = behind(Answering, lambda request: answered(request.target + request.body.decode()))
    client = proxy(server.target).connect()
    count = 200
    texts = [get(f"/{i}") if i % 3 else chunked(f"/{i}", "ab", "c") if i % 2 else post(f"/{i}", "abc")
             for i in range(count)]
    sender = client.send_in_background("".join(texts).encode())
    for i in range(count):
        assert answer(client).body == f"/{i}".encode() + (b"" if i % 3 else b"abc"), i
    sender.join()
    assert [request.target for request in server.requests] == [f"/{i}" for i in range(count)]


def test_a_target_needs_no_upstream(zerg, behind):
    target = behind(Answering, answered()).target
    server = zerg(listeners=[{"address": "127.0.0.1", "protocol": "http", "forward": target}])
    assert ask(server.connect(), get("/")).body == b"ok"


def test_clients_are_served_from_all_servers_in_turn(proxy, behind):
    servers = [behind(Answering, answered(name)) for name in "abc"]
    client = proxy(*[server.target for server in servers]).connect()
    got = b"".join(ask(client, get("/")).body for _ in range(9))
    assert sorted(got) == sorted(b"abcabcabc") and len(set(got[:3])) == 3


def test_draining_lets_requests_finish(proxy, upstream):
    server = proxy(upstream.target)
    idle, busy = server.connect(), server.connect()
    peer, _ = upstream.turn(idle, get("/"))
    assert answer(idle).body == b"ok"
    busy.send(get("/"))
    assert peer.request()
    server.process.terminate()
    assert idle.rest() == b""
    peer.send(answered())
    got = answer(busy)
    assert got.body == b"ok" and got["Connection"] == "close" and busy.rest() == b""
    peer.expect_gone()
