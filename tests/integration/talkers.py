"""Servers behind an upstream that die and come back, and clients that tell by whom they were served."""

import contextlib
import random
import socket
import threading
from collections import Counter

from harness import free_port
from peer import PATIENCE, Backend, dial, pattern


class Talker:
    """A server that says its name on every connection and then returns what it gets. It can die and come back."""

    def __init__(self, name):
        self.name = name
        self.address = ("127.0.0.1", free_port())
        self.start()

    def start(self):
        self.backend = Backend(self.address, backlog=4096)
        self.backend.sock.settimeout(None)
        self.thread = threading.Thread(target=self._accept, args=(self.backend,), daemon=True)
        self.thread.start()

    @property
    def target(self):
        return f"127.0.0.1:{self.address[1]}"

    def _accept(self, backend):
        while True:
            try:
                peer = backend.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer):
        with contextlib.suppress(OSError):
            peer.send(self.name + "\n")
            while data := peer.sock.recv(65536):
                peer.send(data)
        peer.close()

    def stop(self):
        """Refuses from now on. The shutdown wakes its threads; by a mere close they, and the port, would stay."""
        with contextlib.suppress(OSError):
            self.backend.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)
        for peer in self.backend.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        self.backend.sock.close()

    close = stop


class Refusing:
    """An address that refuses: it is taken, and nobody listens there."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self.sock.getsockname()[1]}"

    def close(self):
        self.sock.close()


class Counted:
    """A server that only takes connections and ends them, and counts."""

    def __init__(self):
        self.count = 0
        self.backend = Backend(backlog=4096)
        self.backend.sock.settimeout(None)
        self.target = self.backend.target
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                sock = self.backend.sock.accept()[0]
                self.count += 1
                sock.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.backend.sock.shutdown(socket.SHUT_RDWR)
        self.backend.close()


# ---- clients ----


def who(server, **options):
    """Who serves a new connection, by the name it says; None when the connection is reset or ended instead."""
    try:
        with server.connect(**options) as client:
            return client.line()
    except (ConnectionResetError, BrokenPipeError, AssertionError):
        return None


def several(server, count=10):
    """How often each one serves."""
    return Counter(who(server) for _ in range(count))


def is_shared(served):
    """Whether a and b, who are equals, serve about as many. Failures before may have cost one of them its turn."""
    return set(served) == {"a", "b"} and abs(served["a"] - served["b"]) <= 2


def expect_reset(server):
    """A connection that is not served: the reset may be there before connect() has returned."""
    with contextlib.suppress(ConnectionResetError):
        server.connect().expect_reset()


class Visitor(threading.Thread):
    """A client that connects again and again, asks, and leaves in one way or another, until it is told to stop."""

    def __init__(self, target, seed):
        super().__init__(daemon=True)
        self.target, self.seed = target, seed
        self.served, self.unserved = [], 0
        self.stopping = False
        self.problem = None

    def run(self):
        chance = random.Random(self.seed)
        try:
            while not self.stopping:
                self._visit(chance)
        except Exception as problem:  # for check(), in the test's own thread
            self.problem = problem

    def _visit(self, chance):
        data = pattern(chance.randrange(1, 20_000), self.seed)
        try:
            with dial(self.target) as client:
                name = client.line()
                got = client.send(data).receive(len(data))
                chance.choice((client.close, client.reset, client.half_close))()
        except (ConnectionError, AssertionError):  # of line() and receive(): the stream has ended
            self.unserved += 1
            return
        if got != data:
            raise ValueError("wrong bytes")
        self.served.append(name)

    def check(self):
        self.stopping = True
        self.join(PATIENCE)
        assert not self.is_alive() and self.problem is None, self.problem
