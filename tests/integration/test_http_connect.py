"""CONNECT: refused unless a handler takes it, and a relay when one forwards it."""

import subprocess

import pytest

from httpserver import Answering, answered
from httptalk import answer, ask, get
from peer import PATIENCE
from talkers import Refusing, Talker

HANDLER = """
local zerg = require "zerg"

return {
  serve = function(req, res) res:send("served") end,
  connect = function(req, res)
    if req.host ~= "127.0.0.1" then
      return res:status(403):send("not there")
    end
    local result, reason = req:forward(req.target)
    zerg.log.info("%s %s", result and result.status or "none", result and result.server or reason)
  end,
}
"""


def connect(target, more=""):
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{more}"


@pytest.fixture
def tunnels(zerg):
    server = zerg(files={"web.lua": HANDLER}, listeners=[
        {"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"}])
    return server.wait_listening()


def test_it_becomes_a_connection_to_the_server(tunnels, behind, engine):
    talker = behind(Talker, "there")
    client = tunnels.connect()
    assert ask(client, get("/")).body == b"served"
    client.send(connect(talker.target, "early\n"))  # before we have been told
    client.expect("HTTP/1.1 200 Connection Established\r\n\r\n")
    assert "there" in client.line()
    assert client.line() == "early"
    client.send("more\n")
    assert client.line() == "more"
    client.half_close()
    client.expect_end()
    tunnels.log.wait(f"200 {talker.target}")


def test_curl_goes_through(tunnels, behind):
    server = behind(Answering, answered("through"))
    done = subprocess.run(["curl", "-s", "-p", "-x", f"http://127.0.0.1:{tunnels.port}", f"http://{server.target}/x"],
                          capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "through"


def test_what_is_refused_closes_the_connection(tunnels, engine):
    client = tunnels.connect()
    client.send(connect("10.0.0.1:1", get("/")))  # what was meant for the tunnel is no request
    got = answer(client)
    assert (got.status, got.body, got["Connection"]) == (403, b"not there", "close")
    client.expect_end()


def test_a_server_that_refuses_is_502(tunnels, behind, engine):
    tunnels.log.allow("refused")
    client = tunnels.connect()
    client.send(connect(behind(Refusing).target, get("/")))
    assert answer(client).status == 502
    client.expect_end()


def test_without_a_handler_for_it_it_is_501(zerg, engine):
    server = zerg(files={"web.lua": "return function(_, res) res:send('served') end"}, listeners=[
        {"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"},
        {"address": "127.0.0.1", "protocol": "http", "forward": "127.0.0.1:1"}])
    for listener in (0, 1):
        client = server.connect(listener)
        client.send(connect("127.0.0.1:1", get("/")))
        got = answer(client)
        assert (got.status, got["Connection"]) == (501, "close")
        client.expect_end()
