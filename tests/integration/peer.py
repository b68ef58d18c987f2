"""The client's side of a connection: blocking, with a time-out on everything, and the moves rude peers make."""

import hashlib
import os
import select
import socket
import struct
import threading
import time

SCALE = float(os.environ.get("ZERG_TIME_SCALE", "1"))  # > 1 on slow builds (sanitizers)
PATIENCE = 10 * SCALE  # seconds for what should happen at once


def until(condition, what, timeout=None):
    """Polls until condition() is true and returns its value; fails, saying what, when the time is up."""
    deadline = time.monotonic() + (timeout or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout or PATIENCE:g} s: {what}")
        time.sleep(0.005)


class Peer:
    """One client connection. Every wait is bounded; what does not come is a failure, not a hang."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def name(self):
        return self.sock.getsockname()

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def send_in_background(self, data):
        """A thread that sends data; join() it. Errors end it silently: what arrived is for the test to check."""

        def run():
            try:
                self.sock.sendall(data)
            except OSError:
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def send_until_blocked(self, limit, quiet=0.3):
        """Sends zeros until the connection takes no more for `quiet` seconds, or limit bytes; returns how many went."""
        sent, block = 0, bytes(65536)
        self.sock.setblocking(False)
        while sent < limit:
            if not select.select([], [self.sock], [], quiet * SCALE)[1]:
                break
            try:
                sent += self.sock.send(block[: limit - sent])
            except BlockingIOError:
                pass
        self.sock.settimeout(PATIENCE)
        return sent

    def receive(self, count):
        """Exactly count bytes; fewer before the end of the stream is a failure that shows them."""
        parts, missing = [], count
        while missing:
            part = self.sock.recv(min(missing, 1 << 20))
            if not part:
                got = b"".join(parts)
                raise AssertionError(f"end of stream after {len(got)} of {count} bytes: {got[:200]!r}")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def receive_hash(self, count, look=None):
        """The hash of count bytes, none of which is kept; `look` is called after each part."""
        digest, missing = hashlib.blake2b(), count
        while missing:
            part = self.sock.recv(min(missing, 1 << 20))
            assert part, f"end of stream with {missing} of {count} bytes missing"
            digest.update(part)
            missing -= len(part)
            if look:
                look()
        return digest.hexdigest()

    def line(self):
        """The next line, without its newline, as text."""
        out = bytearray()
        while not out.endswith(b"\n"):
            part = self.sock.recv(1)
            assert part, f"end of stream in a line: {bytes(out)!r}"
            out += part
        return out[:-1].decode()

    def rest(self):
        """Everything up to the end of the stream."""
        parts = []
        while True:
            part = self.sock.recv(1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)

    def expect(self, data):
        data = data.encode() if isinstance(data, str) else data
        got = self.receive(len(data))
        assert got == data
        return self

    def expect_end(self, within=None):
        """Asserts that nothing but the end of the stream comes, within that many seconds."""
        self.sock.settimeout((within or PATIENCE / SCALE) * SCALE)
        got = self.sock.recv(1 << 16)
        assert got == b"", f"expected the end of the stream, got {got[:200]!r}"

    def expect_reset(self):
        try:
            got = self.rest()
        except ConnectionResetError:
            return
        raise AssertionError(f"expected a reset, got a clean end of stream after {got[:200]!r}")

    def expect_silence(self, seconds):
        readable = select.select([self.sock], [], [], seconds)[0]
        assert not readable, f"expected nothing, got {self.sock.recv(200)!r}"

    def ask(self, data, answer=None):
        """Sends data and expects the answer (by default the same bytes)."""
        return self.send(data).expect(data if answer is None else answer)

    def ask_line(self, text):
        """Sends a line, returns the line that comes back."""
        return self.send(text + "\n").line()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        """Leaves with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


def dial(target, *, source=None, receive_buffer=None, max_segment=None):
    """A raw connection to (host, port) or a unix path, from the address `source`: one attempt, errors as they come."""
    if isinstance(target, str):
        sock = socket.socket(socket.AF_UNIX)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
    try:
        if source:
            sock.bind((source, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if max_segment:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, max_segment)
        sock.settimeout(PATIENCE)
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return Peer(sock)


class Backend:
    """A server behind the one under test: a listening socket whose connections the test takes as Peers."""

    def __init__(self, target=("127.0.0.1", 0), backlog=128):
        unix = isinstance(target, str)
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
        self.sock.settimeout(PATIENCE)
        if not unix:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(target)
        self.sock.listen(backlog)
        self.peers = []

    @property
    def port(self):
        return self.sock.getsockname()[1]

    @property
    def target(self):
        """As `forward` wants it."""
        name = self.sock.getsockname()
        if isinstance(name, str):
            return "unix:" + name
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    def accept(self):
        self.peers.append(Peer(self.sock.accept()[0]))
        return self.peers[-1]

    def close(self):
        """Refuses from now on, and leaves."""
        self.sock.close()
        for peer in self.peers:
            peer.close()


class Blackhole:
    """An address that answers no connection: its queue is full, so the kernel drops every further SYN."""

    def __init__(self):
        self.backend = Backend(backlog=0)
        self.socks = []
        while True:
            sock = socket.socket()
            self.socks.append(sock)
            sock.settimeout(0.3)
            try:
                sock.connect(self.backend.sock.getsockname())
            except TimeoutError:
                return

    @property
    def target(self):
        return self.backend.target

    def close(self):
        for sock in self.socks:
            sock.close()
        self.backend.close()


def pattern(count, seed=1):
    """count bytes that repeat nowhere near each other, the same for the same seed."""
    digest = hashlib.shake_128(str(seed).encode())
    block = digest.digest(min(count, 1 << 20))
    return (block * (count // len(block) + 1))[:count] if count else b""


def hash_of(data):
    return hashlib.blake2b(data).hexdigest()
