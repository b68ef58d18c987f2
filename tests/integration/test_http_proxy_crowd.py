"""The reverse proxy between many clients and servers of which every second one fails somehow: nobody gets the answer
to another's request, or half an answer that looks like a whole one."""

import random
import threading

import pytest

from httpserver import Answering, answered, answered_in_chunks
from httptalk import answer, chunked, get, post
from peer import PATIENCE, dial

CLIENTS = 8
REQUESTS_EACH = 150
EVIL = answered("evil")

# What a server does with a request, by a word in its target: its bytes, and whether it ends the connection behind them.
KINDS = {
    "length": lambda text: (answered(text), False),
    "chunked": lambda text: (answered_in_chunks(text[:5], text[5:]), False),
    "said_to_close": lambda text: (answered(text, "Connection: close"), True),
    "closes": lambda text: (answered(text), True),
    "until_close": lambda text: (b"HTTP/1.1 200 OK\r\n\r\n" + text.encode(), True),
    "extra": lambda text: (answered(text) + EVIL, False),
    "hints": lambda text: (b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + answered(text), False),
    "long": lambda text: (answered(text * 3000), False),

    "nothing": lambda text: (b"", True),
    "half_a_head": lambda text: (answered(text)[:30], True),
    "half_a_body": lambda text: (answered(text)[:-2], True),
    "half_a_chunk": lambda text: (answered_in_chunks(text)[:-8], True),
    "no_last_chunk": lambda text: (answered_in_chunks(text)[:-5], True),
    "no_answer": lambda text: (b"what?\r\n\r\n" + EVIL, False),
}
WHOLE = ("length", "chunked", "said_to_close", "closes", "until_close", "extra", "hints", "long")


def reply(request):
    kind = request.target.split("/")[1]
    return KINDS[kind](request.target + request.body.decode())


class Client(threading.Thread):
    """Asks one thing after the other, and anew where its connection ends."""

    def __init__(self, target, number):
        super().__init__(daemon=True)
        self.target, self.number = target, number
        self.chance = random.Random(number)
        self.whole = 0
        self.problem = None

    def run(self):
        try:
            self._ask_all()
        except Exception as problem:  # for check(), in the test's own thread
            self.problem = problem

    def _ask_all(self):
        peer = dial(self.target)
        for i in range(REQUESTS_EACH):
            kind = self.chance.choice([*KINDS])
            target = f"/{kind}/{self.number}/{i}"
            text, body = self.chance.choice(((get(target), ""), (post(target, "abc"), "abc"),
                                             (chunked(target, "abc"), "abc")))
            expected = (target + body) * (3000 if kind == "long" else 1)
            if not self._ask(peer, text, kind, expected.encode()):
                peer.close()
                peer = dial(self.target)
        peer.close()

    def _ask(self, peer, text, kind, expected):
        """Whether the connection can be used again."""
        try:
            got = answer(peer.send(text))
            while got.status == 103:
                got = answer(peer)
        except (ConnectionError, AssertionError):  # of receive() and line(): the stream has ended
            assert kind not in WHOLE, f"cut: {text!r}"
            return False
        if got.status == 200:
            assert kind in WHOLE and got.body == expected, (text, got.body)
            self.whole += 1
        else:  # a server that had ended the idle connection: GET is asked again then
            assert got.status == 502 and (kind not in WHOLE or text.startswith("POST")), (text, got.status, got.body)
        return got["Connection"] != "close"


def test_nobody_gets_what_was_for_another(proxy, behind, quick_engine):
    servers = [behind(Answering, reply) for _ in range(3)]
    server = proxy(*[one.target for one in servers], max_fails=0)
    server.log.allow("|".join(one.target for one in servers))
    clients = [Client(server.targets[0], number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(4 * PATIENCE)
        assert not client.is_alive() and client.problem is None, client.problem
    assert sum(client.whole for client in clients) > CLIENTS * REQUESTS_EACH / 4


@pytest.mark.parametrize("kind", ["length", "chunked", "hints", "long"])
def test_an_answer_that_is_mixed_up_would_be_found(behind, kind):
    """The client itself, with a server that answers something else."""
    server = behind(Answering, lambda request: KINDS[kind](request.target[:-1] + "x"))
    client = Client(server.backend.sock.getsockname(), 1)
    with dial(client.target) as peer, pytest.raises(AssertionError):
        client._ask(peer, get(f"/{kind}/1/2"), kind, f"/{kind}/1/2".encode())
