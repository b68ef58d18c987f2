"""HTTP as a server behind a proxy sees it: requests byte for byte, and answers that are whatever the test says.

Upstream is for tests that take every connection and say every word themselves; Answering does so by itself, on as
many connections as come."""

import contextlib
import re
import select
import socket
import threading

from httptalk import answer, get, head
from peer import PATIENCE, Backend, Peer, until

FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP",
             "X-Request-ID")


def answered(body=b"ok", *lines, status="200 OK"):
    """An answer with a length, as bytes."""
    body = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def answered_in_chunks(*parts, lines=(), trailers=""):
    head = "\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *lines, "", ""])
    body = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts) + "0\r\n" + trailers + "\r\n"
    return (head + body).encode("latin-1")


def fields_of(lines):
    """Names and values, as strictly as a server has to be that goes on with the connection."""
    pairs = [re.fullmatch(r"([!#$%&'*+.^_`|~\w-]+): ?(.*)", line) for line in lines]
    assert all(pairs), lines
    return [(pair[1], pair[2]) for pair in pairs]


class Request:
    """`head` is as it came, with the empty line; `body` without its chunks, whose sizes are in `chunk_lines`."""

    def __init__(self, head):
        self.head = head
        self.line, *lines = head.decode("latin-1")[:-4].split("\r\n")
        self.method, self.target, self.version = self.line.split(" ")
        self.fields = fields_of(lines)
        self.body, self.chunk_lines, self.trailers = b"", [], []

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __getitem__(self, name):
        """The value of a field that may be there once."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    def without_marks(self):
        """What the proxy has no part in: (head, body, trailers), without the identifier of the request."""
        return re.sub(rb"(?i)\r\nX-Request-ID: [^\r]*", b"", self.head), self.body, tuple(self.trailers)


class Served(Peer):
    """A connection of the proxy. Keeps all that came, in `recorded`."""

    def __init__(self, sock):
        super().__init__(sock)
        self.recorded = bytearray()
        self.used = 0

    def _more(self):
        part = self.sock.recv(1 << 16)
        self.recorded += part
        return len(part)

    def _use(self, end):
        out = bytes(self.recorded[self.used: end])
        self.used = end
        return out

    def receive(self, count):
        while len(self.recorded) - self.used < count:
            assert self._more(), f"end of stream before {count} bytes: {bytes(self.recorded[self.used:])!r}"
        return self._use(self.used + count)

    def upto(self, mark):
        """Everything up to the mark, with it."""
        while (at := self.recorded.find(mark, self.used)) < 0:
            assert self._more(), f"end of stream before {mark!r}: {bytes(self.recorded[self.used:])!r}"
        return self._use(at + len(mark))

    def line(self):
        return self.upto(b"\r\n")[:-2].decode("latin-1")

    def head(self):
        """The next request without its body, or None when the proxy ended its stream in order, between requests."""
        if len(self.recorded) == self.used and not self._more():
            return None
        return Request(self.upto(b"\r\n\r\n"))

    def request(self):
        request = self.head()
        if request:
            self.read_body(request)
        return request

    def read_body(self, request):
        if request["Transfer-Encoding"]:
            assert request["Transfer-Encoding"] == "chunked" and request["Content-Length"] is None, request.head
            self.read_chunks(request)
        else:
            request.body = self.receive(int(request["Content-Length"] or 0))

    def read_chunks(self, request):
        size = None
        while size != 0:
            request.chunk_lines.append(self.line())
            size = int(request.chunk_lines[-1].split(";")[0], 16)
            request.body += self.receive(size)
            assert size == 0 or self.receive(2) == b"\r\n"
        while line := self.line():
            request.trailers += fields_of([line])

    def expect_gone(self):
        """The proxy has ended this connection, in whatever way, and said nothing more."""
        with contextlib.suppress(ConnectionResetError):
            assert not self._more(), f"more came: {bytes(self.recorded[self.used:])!r}"


class Upstream(Backend):
    """Takes connections one by one, when the test says so."""

    def accept(self):
        self.peers.append(Served(self.sock.accept()[0]))
        return self.peers[-1]

    def accept_request(self):
        """A new connection, and the request that comes on it."""
        peer = self.accept()
        return peer, peer.request()

    def is_called(self):
        """Whether a connection waits to be taken."""
        return bool(select.select([self.sock], [], [], 0)[0])

    def turn(self, client, text, reply=None, peer=None):
        """The client asks, the server answers, on a new connection unless one is given; returns the connection and what
        came on it."""
        client.send(text)
        peer = peer or self.accept()
        request = peer.request()
        peer.send(answered() if reply is None else reply)
        return peer, request


UPGRADE = get("/chat", "Connection: keep-alive, Upgrade", "Upgrade: talk")
SWITCHED = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: talk\r\n\r\n"


def switched(client, upstream, more=""):
    """The server's side of a connection that has become another; `more` follows the server's head at once."""
    client.send(UPGRADE)
    peer, request = upstream.accept_request()
    assert request["Upgrade"] == "talk" and "upgrade" in request["Connection"].lower()
    peer.send(SWITCHED + more)
    status, fields = head(client)
    names = {name.lower(): value.lower() for name, value in fields}
    assert status == 101 and names["upgrade"] == "talk" and names["connection"] == "upgrade"
    return peer


def both_ways(client, upstream, text, data):
    """A request whose head is `text`, and its answer, each with this body, which may be longer than what sockets hold."""
    sender = client.send_in_background(text.encode() + data)
    peer, request = upstream.accept_request()
    sender.join()
    assert request.body == data
    sender = peer.send_in_background(answered(data))
    assert answer(client).body == data
    sender.join()


class Answering:
    """Answers every request by `reply`: bytes, or a function that makes them of the request. `ends`: and ends the
    connection behind them; such a function may say so itself, by a pair."""

    def __init__(self, reply, ends=False):
        self.reply, self.ends = reply, ends
        self.requests = []  # complete ones only
        self.backend = Upstream(backlog=4096)
        self.backend.sock.settimeout(None)
        self.target = self.backend.target
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer = self.backend.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with contextlib.suppress(OSError, AssertionError):  # the proxy ends a connection when it likes
            peer.sock.settimeout(6 * PATIENCE)
            while request := peer.request():
                self.requests.append(request)
                reply = self.reply(request) if callable(self.reply) else self.reply
                data, ends = reply if isinstance(reply, tuple) else (reply, self.ends)
                peer.send(data)
                if ends:
                    break
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)

    @property
    def received(self):
        """All bytes of all connections, complete or not."""
        return b"".join(bytes(peer.recorded) for peer in self.backend.peers)

    def wait(self, count):
        until(lambda: len(self.requests) >= count, f"{count} requests, not {len(self.requests)}")
        return self.requests

    def close(self):
        with contextlib.suppress(OSError):
            self.backend.sock.shutdown(socket.SHUT_RDWR)
        for peer in self.backend.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        self.backend.close()
