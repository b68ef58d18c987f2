"""The HTTP server and clients that are slow, wrong or gone: limits, time-outs, malformed requests, bodies nobody wants, and the
server's own end."""

import json
import subprocess

import pytest

from httprequests import MALFORMED
from httptalk import answer, ask, chunked, get, HANDLER, head, post
from peer import SCALE


def test_100_continue_is_said_when_the_body_is_asked_for_and_only_then(web, engine):
    server = web()
    expect = ("Expect: 100-continue", "Content-Length: 5")
    with server.connect() as peer:
        peer.send(get("/body", *expect, method="POST"))
        assert head(peer) == (100, [])
        peer.send("12345")
        assert answer(peer).body == b"12345"
        peer.send(get("/body", *expect, method="POST") + "12345")
        assert answer(peer).body == b"12345"
        peer.send(get("/ignore", *expect, method="POST"))
        got = answer(peer)
        assert got.body == b"ignored" and got["Connection"] == "close" and peer.rest() == b""


def test_a_body_that_nobody_reads_is_skipped_within_a_bound(web):
    server = web(limits={"body_bytes": "16m"})
    with server.connect() as peer:
        assert ask(peer, post("/ignore", "x" * 100_000)).body == b"ignored"
        assert ask(peer, chunked("/ignore", "GET /raise HTTP/1.1\r\n\r\n")).body == b"ignored"
        assert ask(peer, get("/hello")).body == b"hello\n"
    with server.connect() as peer:
        peer.send(get("/ignore", "Content-Length: 10000000", method="POST"))
        got = answer(peer)
        assert got["Connection"] == "close" and peer.rest() == b""


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused_and_nothing_behind_it_is_answered(web, name):
    text, status = MALFORMED[name]
    peer = web().connect()
    peer.send((text + get("/hello")).encode("latin-1"))
    got = answer(peer)
    assert (got.status, got["Connection"]) == (status, "close")
    assert peer.rest() == b""


def test_a_malformed_body_ends_its_connection(web):
    server = web()
    bad = get("/body", "Transfer-Encoding: chunked", method="POST") + "5\r\nhelloX\r\n0\r\n\r\n" + get("/hello")
    for path in ("/body", "/ignore", "/body?say=1"):  # whether the handler asks, does not, or thinks nothing of it
        with server.connect() as peer:
            got = ask(peer, bad.replace("/body", path))
            assert (got.status, got["Connection"]) == (400, "close") and peer.rest() == b""


def test_half_an_answer_to_a_malformed_body_is_cut(web, engine):
    with web().connect() as peer:
        peer.send(get("/mirror", "Transfer-Encoding: chunked", method="POST") + "5\r\nhello\r\n")
        status, _ = head(peer)
        assert status == 200
        peer.expect("5\r\nhello\r\n")
        peer.send("zz\r\n" + get("/hello"))
        peer.expect_reset()


def test_slow_heads_get_408_and_silence_only_an_end(web):
    server = web(timeouts={"header": 0.2, "keepalive": 0.4})
    drip = server.connect().send("GET /hello HTTP/1.1\r\n")
    idle = server.connect()
    used = server.connect()
    assert ask(used, get("/hello")).body == b"hello\n"
    crlf = server.connect().send("\r\n")
    got = answer(drip)
    assert got.status == 408 and got["Connection"] == "close" and drip.rest() == b""
    assert idle.rest() == b"" and used.rest() == b"" and crlf.rest() == b""


def test_bytes_that_drip_do_not_prolong_a_head(web):
    peer = web(timeouts={"header": 0.3 * SCALE}).connect()
    peer.send("GET /hello HTTP/1.1\r\nA: ")
    peer.sock.settimeout(0.05 * SCALE)
    for _ in range(40):
        try:
            peer.send("x")
            if peer.sock.recv(12) == b"HTTP/1.1 408":
                return
        except TimeoutError:
            pass
    raise AssertionError("still reading that head")


def test_slow_bodies_get_408_unless_the_handler_answers(web):
    server = web(timeouts={"body": 0.2})
    with server.connect() as peer:
        assert ask(peer, get("/body", "Content-Length: 5", method="POST") + "abc").status == 408
        assert peer.rest() == b""
    with server.connect() as peer:
        assert ask(peer, get("/body?say=1", "Content-Length: 5", method="POST") + "abc").body == b"nil timeout"


def test_a_client_that_goes_is_told_of_to_the_handler(web, engine):
    server = web()
    peer = server.connect().send(get("/gone"))
    peer.receive(100_000)
    peer.close()
    server.log.wait("the client has gone: reset")
    peer = server.connect().send(get("/body_of_gone", "Content-Length: 5", method="POST") + "ab")
    peer.close()
    server.log.wait("no body: nil closed")


def test_a_client_may_half_close_behind_its_request(web, engine):
    server = web()
    for target, body in (("/hello", b"hello\n"), ("/slow", b"slow\n")):
        peer = server.connect().send(get(target))
        peer.half_close()
        got = answer(peer)
        assert got.body == body and peer.rest() == b""
    peer = server.connect().send(get("/slow") + get("/hello"))
    peer.half_close()
    assert answer(peer).body == b"slow\n" and answer(peer).body == b"hello\n" and peer.rest() == b""
    peer = server.connect().send("GET /hello HT")
    peer.half_close()
    assert peer.rest() == b""


def test_draining_ends_idle_connections_and_says_close_to_the_others(web):
    server = web()
    idle, busy = server.connect(), server.connect()
    assert ask(idle, get("/hello")).body == b"hello\n"
    busy.send(get("/announced"))
    server.log.wait("answering")
    server.process.terminate()
    assert idle.rest() == b""
    got = answer(busy)
    assert got.body == b"slow\n" and got["Connection"] == "close" and busy.rest() == b""


def test_idle_connections_need_little_memory(web):
    server = web()
    warm = server.connect_many(200)
    for peer in warm * 20:
        assert ask(peer, get("/hello")).status == 200
    before = server.resident_bytes()
    peers = server.connect_many(2000)
    for peer in peers:
        assert ask(peer, get("/hello")).status == 200
    assert (server.resident_bytes() - before) / len(peers) < 1024


def test_a_unix_socket_and_a_proxy_header_go_with_it(web):
    server = web(proxy_protocol=True)
    peer = server.connect().send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get("/about"))
    assert json.loads(answer(peer).body)["remote"] == "192.0.2.1"


def test_a_script_is_served_from_the_command_line(zerg):
    server = zerg.script("return function(req, res) return req.path end", "--http")
    assert ask(server.connect(), get("/from/here")).body == b"/from/here"


CURL = {
    "plain": (["/hello"], "hello\n"),
    "old": (["--http1.0", "/hello"], "hello\n"),
    "stream": (["/stream"], "one,two,three"),
    "post": (["-d", "a=1", "/body"], "a=1"),
    "expect": (["-H", "Expect: 100-continue", "-d", "a=1", "/body"], "a=1"),
    "upload": (["-T", "web.lua", "/mirror"], HANDLER),
    "chunked": (["-H", "Transfer-Encoding: chunked", "-T", "web.lua", "/mirror"], HANDLER),
    "redirect": (["-L", "/redirect"], "hello\n"),
}


@pytest.mark.parametrize("name", CURL)
def test_curl_is_content(web, name):
    args, expected = CURL[name]
    server = web()
    server.wait_ready()
    url = f"http://127.0.0.1:{server.port}{args[-1]}"
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *args[:-1], url], cwd=server.path, capture_output=True,
                          text=True, check=True)
    assert done.stdout == expected


def test_what_is_skipped_of_a_body_is_never_a_request(web, engine):
    """More of it has come than is skipped for a handler that did not ask."""
    piece = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" * 100
    chunks = f"{len(piece):x}\r\n{piece}\r\n" * 120 + "0\r\n\r\n"
    for path in ("/slow", "/ignore"):
        with web().connect() as peer:
            peer.send_in_background((get(path, "Transfer-Encoding: chunked", method="POST") + chunks).encode())
            first = answer(peer)
            assert first.body in (b"slow\n", b"ignored")
            assert first["Connection"] == "close" or path == "/ignore"
            try:
                assert peer.rest() == b""
            except ConnectionResetError:
                pass
