"""The HTTP server as clients see it: answers and their framing, keep-alive and pipelining, what a handler sees of a request,
and what happens when it fails."""

import json
import re

import pytest

from httptalk import answer, ask, chunked, get, head, post
from peer import until


def test_an_answer_has_a_date_a_length_and_a_type_and_the_connection_goes_on(web, engine):
    peer = web().connect()
    for _ in range(3):
        got = ask(peer, get("/hello"))
        assert (got.status, got.body) == (200, b"hello\n")
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", got["Date"])
        assert got["Content-Length"] == "6" and got["Content-Type"] == "text/plain; charset=utf-8"
        assert got["Connection"] is None


def test_what_a_handler_returns_is_its_answer(web):
    peer = web().connect()
    assert ask(peer, get("/string")).body == b"a string"
    empty = ask(peer, get("/nothing"))
    assert (empty.status, empty["Content-Length"], empty["Content-Type"]) == (200, "0", None)
    assert ask(peer, get("/missing%20x")).body == b"no such path: /missing x"


REQUESTS = {
    "get": (get("/hello"), b"hello\n"),
    "body": (post("/body", "0123456789"), b"0123456789"),
    "chunked": (chunked("/body", "01234", "56789", trailers="X-T: 1\r\n"), b"0123456789"),
    "mirror": (chunked("/mirror", "01234", "56789"), b"0123456789"),
    "ignored": (post("/ignore", "0123456789"), b"ignored"),
    "late": (chunked("/body_late", "0123", "4"), b"01234"),
    "query": (get("/large?n=5"), b"xxxxx"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_may_be_cut_anywhere(web, name):
    text, expected = REQUESTS[name]
    peer = web().connect()
    for at in range(1, len(text)):
        peer.send(text[:at])
        peer.send(text[at:])
        got = answer(peer)
        assert (got.status, got.body) == (200, expected), at


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_may_come_byte_by_byte(web, engine, name):
    text, expected = REQUESTS[name]
    peer = web().connect()
    for byte in text + text:
        peer.send(byte)
    for _ in range(2):
        got = answer(peer)
        assert (got.status, got.body) == (200, expected)


def test_pipelined_requests_are_answered_in_order(web, engine):
    peer = web().connect()
    names = [*REQUESTS] * 30
    peer.send("".join(REQUESTS[name][0] for name in names) + get("/slow") + get("/hello"))
    for name in names:
        assert answer(peer).body == REQUESTS[name][1], name
    assert answer(peer).body == b"slow\n"
    assert answer(peer).body == b"hello\n"


def test_a_client_that_does_not_read_holds_its_own_pipeline_up(web):
    server = web()
    peer = server.connect()
    count, size = 400, 100_000
    sender = peer.send_in_background((get(f"/large?n={size}") * count).encode())
    until(lambda: server.resident_bytes() > 0, "running")
    for _ in range(count):
        assert len(answer(peer).body) == size
    sender.join()
    assert server.resident_bytes() < 32 << 20


def test_many_pipelined_requests_in_one_go(web, engine):
    peer = web().connect()
    count = 3000
    sender = peer.send_in_background((get("/hello") * count).encode())
    for _ in range(count):
        assert answer(peer).body == b"hello\n"
    sender.join()


def test_head_gets_the_head_that_get_gets(web):
    peer = web().connect()
    for target in ("/hello", "/stream", "/stream_length", "/nothing", "/missing"):
        full, only = ask(peer, get(target)), ask(peer, get(target, method="HEAD"))
        strip = [field for field in full.fields if field[0] != "Date"]
        assert [field for field in only.fields if field[0] != "Date"] == strip, target
        assert full.status == only.status
    assert ask(peer, get("/hello")).body == b"hello\n"


def test_answers_without_content_have_none(web):
    peer = web().connect()
    got = ask(peer, get("/no_content"))
    assert (got.status, got["Content-Length"], got["Content-Type"]) == (204, None, None)
    got = ask(peer, get("/not_modified"))
    assert (got.status, got["Content-Length"], got["ETag"]) == (304, None, '"x"')
    assert ask(peer, get("/hello")).body == b"hello\n"


def test_old_clients_get_what_they_understand(web):
    server = web()
    with server.connect() as peer:
        got = ask(peer, get("/hello", version="1.0"))
        assert got["Connection"] == "close" and peer.rest() == b""
    with server.connect() as peer:
        for _ in range(2):
            got = ask(peer, get("/hello", "Connection: keep-alive", version="1.0"))
            assert got["Connection"] == "keep-alive"
        got = ask(peer, get("/stream", "Connection: keep-alive", version="1.0"))
        assert got["Transfer-Encoding"] is None and got.body == b"one,two,three"


def test_close_is_honoured_both_ways(web):
    server = web()
    for text in (get("/hello", "Connection: close"), get("/close")):
        peer = server.connect()
        got = ask(peer, text + get("/hello"))
        assert got["Connection"] == "close" and peer.rest() == b""


def test_streams_are_chunked_or_as_long_as_they_say(web, engine):
    peer = web().connect()
    got = ask(peer, get("/stream"))
    assert got["Transfer-Encoding"] == "chunked" and got.body == b"one,two,three"
    assert ask(peer, get("/stream_length")).body == b"abcdef"


def test_a_stream_that_falls_short_is_cut(web):
    server = web()
    server.log.allow("less than its Content-Length")
    peer = server.connect().send(get("/too_little"))
    status, _ = head(peer)
    assert status == 200
    assert peer.receive(3) == b"abc"
    with pytest.raises(ConnectionResetError):
        peer.rest()


@pytest.mark.parametrize("size", [0, 1, 4000, 16384, 16385, 70_000, 5_000_000])
def test_answers_of_any_size_arrive_whole(web, size):
    peer = web().connect()
    assert ask(peer, get(f"/large?n={size}")).body == b"x" * size
    assert ask(peer, get("/hello")).body == b"hello\n"


def test_a_handler_that_raises_is_answered_for_and_says_nothing(web, engine):
    server = web()
    server.log.allow("secret of the house")
    peer = server.connect()
    got = ask(peer, get("/raise"))
    assert (got.status, got.body) == (500, b"500 Internal Server Error\n")
    assert ask(peer, post("/raise", "body")).status == 500
    assert ask(peer, get("/hello")).body == b"hello\n"
    assert server.log.text().count("stack traceback") == 2


def test_a_handler_that_raises_behind_its_head_has_the_connection_cut(web):
    server = web()
    server.log.allow("secret of the house")
    peer = server.connect().send(get("/raise_later"))
    with pytest.raises(ConnectionResetError):
        while peer.rest():
            pass
        peer.rest()


def test_an_error_after_the_answer_is_only_logged(web):
    server = web()
    server.log.allow("afterwards")
    peer = server.connect()
    assert ask(peer, get("/answer_then_raise")).body == b"done"
    assert ask(peer, get("/hello")).body == b"hello\n"


def test_fields_are_set_replaced_listed_and_removed(web):
    got = ask(web().connect(), get("/fields"))
    assert got["X-A"] == "2" and got["X-B"] == ["1", "2"] and got["X-C"] == "3" and got["X-Gone"] is None
    assert got["Date"] == "never" and got["Content-Type"] == "text/html"


def test_nothing_can_be_injected_into_a_head(web):
    got = ask(web().connect(), get("/refused_fields"))
    assert got.body == b" ".join([b"refused"] * 10 + [b"set"] + [b"refused"] * 3)
    assert got["Set-Cookie"] is None and got["X"] is None


def test_an_answer_is_sent_once(web):
    server = web()
    peer = server.connect()
    assert ask(peer, get("/twice")).body == b"once"
    server.log.wait("misuse: .*res:send: the answer was sent already; .*res:status: .*; .*res:write: .*; true")


def test_redirects(web):
    got = ask(web().connect(), get("/redirect"))
    assert (got.status, got["Location"], got.body) == (303, "/hello", b"")


def test_a_request_tells_all_of_itself(web, engine):
    peer = web().connect()
    text = get("/about?a=1&b=%41+c&a=2&d", "X-Tag: one", "x-tag:two", "Cookie: a=b").replace("a.example", "a.example:81")
    got = json.loads(ask(peer, text.replace("/about", "/x/../%61bout")).body)
    assert got["method"] == "GET" and got["version"] == "1.1" and got["scheme"] == "http"
    assert got["target"] == "/x/../%61bout?a=1&b=%41+c&a=2&d" and got["path"] == "/about"
    assert got["query_string"] == "a=1&b=%41+c&a=2&d" and got["query"] == {"a": ["1", "2"], "b": "A c", "d": ""}
    assert got["host"] == "a.example" and got["remote"] == "127.0.0.1" and got["seen"] == 1
    assert got["tag"] == "one, two" and got["all"] == ["one", "two"] and "missing" not in got
    assert got["names"] == ["host=a.example:81", "x-tag=one", "x-tag=two", "cookie=a=b"]
    again = json.loads(ask(peer, get("/about", method="GET")).body)
    assert again["seen"] == 1 and again["id"] == got["id"] and "query_string" not in again
    assert ask(peer, get("/method", method="BREW")).body == b"BREW"
    assert json.loads(ask(peer, get("http://b.example/about").replace("a.example", "b.example")).body)["host"] == "b.example"


def test_a_request_that_was_kept_is_of_no_use(web, engine):
    peer = web().connect()
    assert ask(peer, get("/keep")).body == b"kept"
    assert ask(peer, get("/use_kept")).body == b",".join([b"used after its handler has ended"] * 4)


def test_the_raw_connection_is_out_of_reach(web):
    got = ask(web().connect(), get("/raw"))
    assert got.body.count(b"the connection speaks HTTP") == 2


def test_json_and_forms(web):
    peer = web().connect()
    assert json.loads(ask(peer, post("/json", '{"a": [1]}')).body) == {"value": {"a": [1]}}
    bad = ask(peer, post("/json", "{"))
    assert bad.status == 400 and json.loads(bad.body)["reason"].startswith("json: ") and bad["Content-Type"] == "application/json"
    form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8"
    assert json.loads(ask(peer, post("/form", "a=1&b=%20+&a=x", form)).body) == {"form": {"a": ["1", "x"], "b": "  "}}
    assert json.loads(ask(peer, post("/form", "a=1", "Content-Type: text/plain")).body) == {
        "reason": "form: the body is of type text/plain"}


def test_bodies_arrive_whole_however_long(web, engine):
    peer = web(limits={"body_bytes": "16m"}).connect()
    body = "0123456789abcdef" * 65536
    assert ask(peer, post("/body", body)).body == body.encode()
    assert ask(peer, chunked("/chunks", body, body, "x")).body == b"%d nil" % (2 * len(body) + 1)
    sender = peer.send_in_background(chunked("/mirror", *[body] * 4).encode())
    assert answer(peer).body == body.encode() * 4
    sender.join()
    assert ask(peer, get("/hello")).body == b"hello\n"


def test_a_body_that_is_too_long_is_refused(web):
    server = web(limits={"body_bytes": 100})
    with server.connect() as peer:  # before the handler runs
        got = ask(peer, post("/body", "x" * 101))
        assert got.status == 413 and got["Connection"] == "close" and peer.rest() == b""
    with server.connect() as peer:  # unless the handler answers
        got = ask(peer, chunked("/body?say=1", "x" * 60, "x" * 60))
        assert got.body == b"nil limit" and got["Connection"] == "close"
    with server.connect() as peer:
        assert ask(peer, chunked("/body", "x" * 60, "x" * 60)).status == 413
    with server.connect() as peer:
        assert ask(peer, chunked("/chunks", "x" * 60, "x" * 60)).body == b"60 limit"
    with server.connect() as peer:
        assert ask(peer, post("/body?max=5", "x" * 5)).body == b"x" * 5
        assert ask(peer, post("/body?max=5", "x" * 6)).status == 413
        assert peer.rest() == b""
