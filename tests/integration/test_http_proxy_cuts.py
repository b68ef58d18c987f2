"""The reverse proxy and requests in pieces, or malformed: what goes on to the server does not depend on how a request
was cut, and of one that is refused nothing does that could be taken for a request."""

import collections
import json
import random
import struct
import subprocess

import pytest

from harness import REPOSITORY, tool
from httprequests import MALFORMED, REQUESTS, Pause, bytewise, converse, everything, halves, statuses, wire
from httpserver import Answering, answered
from httptalk import HANDLER, answer, get
from peer import SCALE


def reply(request):
    return answered(b"" if request.method == "HEAD" else b"hello\n")


@pytest.fixture
def recording(behind):
    return behind(Answering, reply)


@pytest.fixture
def front(proxy, recording):
    """A proxy with another listener of the same reactors, by which to see that they have read what was sent."""
    def start():
        return proxy(recording.target, files={"web.lua": HANDLER}, max_fails=0,
                     more=[{"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"}])
    return start


def expected(name):
    """The server behind has an answer for every path."""
    return [code if code >= 400 and code != 404 else 200 for code in REQUESTS[name][1]]


def seen(recording, since):
    """What the server got, however it was framed."""
    return collections.Counter(request.without_marks() for request in recording.requests[since:])


def differing(server, recording, pause, name):
    """Differences between a request as a whole and the same in pieces, in its answer and in what the server got."""
    before = len(recording.requests)
    whole = converse(server, [[wire(name)]], pause)[0]
    passed_on = seen(recording, before)
    if statuses(whole) != expected(name) or sum(passed_on.values()) != expected(name).count(200):
        return [f"{name}: answered by {whole!r}, passed on as {passed_on}"]
    ways = [bytewise(wire(name)), *halves(wire(name), len(REQUESTS[name][0]))]
    before = len(recording.requests)
    answers = converse(server, ways, pause)
    found = [f"{name} in {len(way)} pieces, the first of {len(way[0])}: {got!r}, not {whole!r}"
             for way, got in zip(ways, answers) if got != whole]
    found += [f"{name} was passed on {count} times as {request}" for request, count in seen(recording, before).items()
              if count != len(ways) * passed_on[request]]
    return found


def test_every_request_may_be_cut_anywhere(front, recording, quick_engine):
    server = front()
    server.log.allow(recording.target)
    pause = Pause(server, 1)
    found = [text for name in REQUESTS for text in differing(server, recording, pause, name)]
    assert not found, "\n".join(found)


# In an escape the proxy has no part: the target goes on as it came, or is refused.
REFUSED = {name: MALFORMED[name] for name in MALFORMED if name not in ("escape", "nul")}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_malformed_is_refused_and_nothing_of_it_goes_on(proxy, recording, name):
    text, status = REFUSED[name]
    client = proxy(recording.target).connect()
    client.send((text + get("/hello")).encode("latin-1"))
    got = answer(client)
    assert (got.status, got["Connection"]) == (status, "close") and client.rest() == b""
    assert recording.received == b""


def test_of_a_malformed_body_no_whole_request_goes_on(front, recording, quick_engine):
    server = front()
    server.log.allow(recording.target)
    rows = [name for name in REQUESTS if expected(name) == [400]]
    answers = converse(server, [[wire(name)] for name in rows], Pause(server, 1))
    assert {name: statuses(got) for name, got in zip(rows, answers)} == {name: [400] for name in rows}
    assert recording.requests == []


# ---- smuggling ----

STREAMS = 1500
TOKENS = [b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b"+", b"0x", b"chunked", b";", b"\r\n\r\n",
          b"0\r\n\r\n", b"\r\nA: b", b"\r\nContent-Length: 5", b"\r\nContent-Length: 0",
          b"\r\nTransfer-Encoding: chunked", b"\r\nTransfer-Encoding : chunked", b"\r\nTransfer-Encoding: identity",
          b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"]


def damaged(data, chance):
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(data) + 1)
        upto = at + (chance.randrange(4) if chance.random() < 0.5 else 0)
        data = data[:at] + chance.choice([chance.choice(TOKENS), bytes([chance.randrange(256)]), b""]) + data[upto:]
    return data


def streams():
    seeds = [path.read_bytes() for path in sorted((REPOSITORY / "tests/fuzz/seeds/http_request").iterdir())]
    seeds += [text.encode("latin-1") for text, _ in REQUESTS.values()]
    chance = random.Random(4)
    return [b"".join(damaged(chance.choice(seeds), chance) for _ in range(chance.randrange(1, 4)))
            for _ in range(STREAMS)]


def verdicts(cases):
    """What the parser makes of each: its whole messages, and why there are no more."""
    text = b"".join(b"Q\0" + struct.pack("<I", len(case)) + case for case in cases)
    done = subprocess.run([tool("http_verdict")], input=text, capture_output=True, check=True, timeout=60 * SCALE)
    return [json.loads(line) for line in done.stdout.splitlines()]


def whole_messages(verdict):
    return [(message["method"], message["body"].encode("latin-1"))
            for message in verdict["messages"] if message["whole"]]


def send_all(server, cases):
    """Each on a connection of its own, which ends behind it; returns the answers."""
    peers = [server.connect() for _ in cases]
    for peer, case in zip(peers, cases):
        try:
            peer.send(case).half_close()
        except OSError:
            pass  # refused already
    out = [everything(peer) for peer in peers]
    for peer in peers:
        peer.close()
        server.peers.remove(peer)
    return out


def test_nothing_goes_on_that_the_parser_does_not_take_for_a_request(proxy, recording, quick_engine):
    """One stream after the other is damaged; behind a proxy and in front of it there have to be the same requests."""
    server = proxy(recording.target, max_fails=0)
    server.log.allow(recording.target)
    cases = streams()
    cases = [(case, verdict) for case, verdict in zip(cases, verdicts(cases)) if verdict["end"] != "tunnel"]
    allowed = collections.Counter()
    for start in range(0, len(cases), 200):
        batch = cases[start: start + 200]
        for (case, verdict), got in zip(batch, send_all(server, [case for case, _ in batch])):
            whole = whole_messages(verdict)
            allowed.update(whole)
            assert sum(code < 300 for code in statuses(got)) <= len(whole), (case, verdict, got)
    passed_on = collections.Counter((request.method, request.body) for request in recording.requests)
    assert not passed_on - allowed
    assert sum(passed_on.values()) > 0.8 * sum(allowed.values()), "hardly a test"
