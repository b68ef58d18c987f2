"""The examples of docs/lua.md about forwarding and calling other servers, run as they stand there."""

import re

import pytest

from harness import REPOSITORY
from talkers import Talker


def examples(heading):
    """The code blocks of one section."""
    text = (REPOSITORY / "docs" / "lua.md").read_text()
    section = re.search(rf"^## {heading}\n(.*?)^## ", text, re.M | re.S)[1]
    return re.findall(r"^```lua\n(.*?)^```", section, re.M | re.S)


@pytest.fixture
def example(zerg, behind):
    """Starts a server whose handler is an example; the upstreams are named as it names them."""

    def start(heading, number):
        talkers = {name: behind(Talker, name) for name in ("plain", "secure")}
        server = zerg(files={"handler.lua": examples(heading)[number]},
                      upstreams={name: {"servers": [talker.target]} for name, talker in talkers.items()})
        return server.wait_listening()

    return start


def test_forward_by_the_first_byte(example):
    server = example("Forwarding", 0)
    client = server.connect().send("GET")
    assert client.line() == "plain"
    client.expect("GET")
    client = server.connect().send(b"\x16\x03")
    assert client.line() == "secure"
    client.expect(b"\x16\x03")


def test_a_filter(example):
    client = example("Forwarding", 1).connect()
    assert client.line() == "plain"
    client.ask("the secret word", "the ****** word")


def test_a_server_for_each_message(example):
    client = example("Forwarding", 2).connect()
    client.send(b"\1\0\0\0\3abc")
    assert client.line() == "plain"


def test_a_call(example):
    assert example("Calling other servers", 0).connect().line() == "plain"
