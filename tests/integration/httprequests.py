"""Requests of every kind that HTTP/1 knows, right and wrong, and the ways to send them in pieces.

REQUESTS has for each its bytes and the statuses of its answers, from a server with the handler of httptalk.py that ends
the connection behind a request which is wrong. A request that follows, LAST, ends it otherwise.
"""

import contextlib
import re

from httptalk import chunked, get, post

LAST = get("/hello", "Connection: close")
TOGETHER = 256  # connections at once


def parts(body, *lines):
    """A chunked POST whose body is given as it goes over the wire."""
    return get("/body", "Transfer-Encoding: chunked", *lines, method="POST") + body


REQUESTS = {
    "get": (get("/hello"), [200, 200]),
    "query": (get("/large?n=5", "User-Agent: a b", "Accept: */*"), [200, 200]),
    "missing": (get("/a/../missing%20x"), [404, 200]),
    "delete": (get("/method", method="DELETE"), [200, 200]),
    "own_method": (get("/method", method="BREW-IT"), [200, 200]),
    "length": (post("/body", "0123456789"), [200, 200]),
    "length_of_zero": (post("/body", ""), [200, 200]),
    "length_unread": (post("/ignore", "GET / HTTP/1.1\r\n"), [200, 200]),
    "chunked": (chunked("/body", "01234", "56789"), [200, 200]),
    "chunked_empty": (chunked("/body"), [200, 200]),
    "trailers": (chunked("/body", "01234", "x", trailers="X-One: 1\r\nX-Two: 2\r\n"), [200, 200]),
    "extensions": (parts("5;a=b\r\nhello\r\n1;c;d=\"e\\\"f\"\r\n!\r\n0;last\r\n\r\n"), [200, 200]),
    "sizes": (parts("00a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n"), [200, 200]),
    "chunked_unread": (chunked("/ignore", "\r\n0\r\n\r\nGET"), [200, 200]),
    "pipelined": (get("/hello") + get("/string"), [200, 200, 200]),
    "pipelined_bodies": (post("/body", "one") + chunked("/body", "two", trailers="A: b\r\n"), [200, 200, 200]),
    "empty_line_before": ("\r\n" + get("/hello"), [200, 200]),
    "old": (get("/hello", version="1.0"), [200]),
    "old_without_host": ("GET /hello HTTP/1.0\r\n\r\n", [200]),
    "old_kept": (get("/hello", "Connection: keep-alive", version="1.0"), [200, 200]),
    "old_body": (get("/body", "Content-Length: 3", version="1.0", method="POST") + "abc", [200]),
    "close": (get("/hello", "Connection: x, Close"), [200]),
    "head": (get("/hello", method="HEAD"), [200, 200]),
    "no_content": (get("/no_content"), [204, 200]),
    "expect": (get("/body", "Expect: 100-continue", "Content-Length: 5", method="POST") + "12345", [200, 200]),
    "absolute": (get("http://a.example/hello?a=http://b/"), [200, 200]),
    "options": (get("*", method="OPTIONS"), [404, 200]),
    "blanks": (get("/hello", "A:  b \t", "C:", "D:\te f"), [200, 200]),

    "lf": ("GET /hello HTTP/1.1\nHost: a\n\n", [400]),
    "no_host": ("GET /hello HTTP/1.1\r\n\r\n", [400]),
    "two_hosts": (get("/hello", "Host: b.example"), [400]),
    "lengths": (get("/body", "Content-Length: 1", "Content-Length: 2", method="POST") + "x", [400]),
    "same_length_twice": (get("/body", "Content-Length: 3", "Content-Length: 3", method="POST") + "abc", [400]),
    "length_and_chunked": (parts("0\r\n\r\n", "Content-Length: 5"), [400]),
    "length_signed": (get("/body", "Content-Length: +1", method="POST") + "x", [400]),
    "empty_lines_before": ("\r\n\r\n" + get("/hello"), [400]),
    "fold": (get("/hello", "A: b", " c"), [400]),
    "blank_before_colon": (get("/hello", "Content-Length : 1"), [400]),
    "version": ("GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", [505]),
    "encoding": (get("/body", "Transfer-Encoding: chunked, gzip", method="POST"), [400]),
    "expectation": (get("/hello", "Expect: magic"), [417]),
    "connect": ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", [501]),
    "nul": (get("/hello", "A: \0"), [400]),
    "tls": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
    "chunk_size": (parts("5x\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk_size_signed": (parts("-1\r\nhello\r\n0\r\n\r\n"), [400]),
    "chunk_end": (parts("5\r\nhelloX\r\n0\r\n\r\n"), [400]),
    "chunk_lf": (parts("5\nhello\n0\n\n"), [400]),
    "trailer": (parts("1\r\nx\r\n0\r\nA : b\r\n\r\n"), [400]),
    "second": (get("/hello") + "GET /hello\r\n\r\n", [200, 400]),
}

# What is refused for its head, and how: behind it nothing is answered.
MALFORMED = {
    "lf": ("GET /hello HTTP/1.1\nHost: a\n\n", 400),
    "no_host": ("GET /hello HTTP/1.1\r\n\r\n", 400),
    "two_lengths": (get("/hello", "Content-Length: 1", "Content-Length: 2", method="POST") + "x", 400),
    "length_and_chunked": (get("/hello", "Content-Length: 1", "Transfer-Encoding: chunked", method="POST") + "x", 400),
    "fold": (get("/hello", "A: b", " c"), 400),
    "space_before_colon": (get("/hello", "A : b"), 400),
    "version": ("GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "encoding": (get("/hello", "Transfer-Encoding: gzip, chunked", method="POST"), 501),
    "expectation": (get("/hello", "Expect: magic"), 417),
    "connect": ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
    "escape": (get("/a%zz"), 400),
    "nul": (get("/a%00"), 400),
    "long_target": (get("/" + "x" * 20000), 414),
    "long_head": (get("/", "A: " + "x" * 20000), 431),
    "many_fields": (get("/", *["A: b"] * 100), 431),
    "tls": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


def wire(name):
    """All bytes of one row, with the request behind it."""
    return (REQUESTS[name][0] + LAST).encode("latin-1")


def bytewise(data):
    return [data[i: i + 1] for i in range(len(data))]


def halves(data, end):
    """In two, in every way up to that position."""
    return [[data[:at], data[at:]] for at in range(1, end)]


def without_date(data):
    """An answer without what may differ: the date, and 100, which is not said where the body has come with the head."""
    return re.sub(rb"\r\nDate: [^\r]*", b"", data.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))


def statuses(data):
    """Of the answers in there, bodies of which have no such line."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d\d\d) ", data)]


def everything(peer):
    """All that comes up to the end of the stream, which is a reset when a server gets more than it has use for."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := peer.sock.recv(1 << 16):
            got += part
    return got


def send_round(peers, pieces, i):
    for peer, mine in zip(peers, pieces):
        if i < len(mine):
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # ended already, by an answer to read
                peer.send(mine[i])


def converse(server, pieces, pause):
    """Sends each list of pieces on a connection of its own, at most TOGETHER at a time, and returns what came on each.
    pause() returns when the server has seen what was sent, so that the next piece comes alone."""
    out = []
    for start in range(0, len(pieces), TOGETHER):
        batch = pieces[start: start + TOGETHER]
        peers = [server.connect() for _ in batch]
        for i in range(max(map(len, batch))):
            send_round(peers, batch, i)
            pause()
        for peer in peers:
            out.append(without_date(everything(peer)))
            peer.close()
            server.peers.remove(peer)
    return out


class Pause:
    """Waits until the server has seen everything: it has answered others, of every reactor, that asked later. The
    listener is one with the handler of httptalk.py."""

    def __init__(self, server, listener=0, count=4):
        self.peers = server.connect_many(count, listener)
        self.text = get("/hello").encode()
        self.peers[0].send(self.text)
        self.length = len(head_and_body(self.peers[0]))

    def __call__(self):
        for peer in self.peers:
            peer.send(self.text)
        for peer in self.peers:
            peer.receive(self.length)


def head_and_body(peer):
    got = b""
    while not got.endswith(b"\r\n\r\nhello\n"):
        got += peer.receive(1)
    return got


def differing(server, pause, name):
    """The ways to send this request, by the lengths of the pieces, that get another answer than the whole."""
    data, end = wire(name), len(REQUESTS[name][0])
    ways = [[data], bytewise(data), *halves(data, end)]
    answers = converse(server, ways, pause)
    if statuses(answers[0]) != REQUESTS[name][1]:
        return [f"{name}: answered by {answers[0]!r}"]
    return [f"{name} in {len(way)} pieces, the first of {len(way[0])}: {got!r}, not {answers[0]!r}"
            for way, got in zip(ways, answers) if got != answers[0]]
