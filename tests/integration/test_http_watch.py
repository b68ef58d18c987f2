"""What a handler keeps of a connection over its requests, and being told that the client has gone."""

import pytest

from httptalk import answer, ask, get
from peer import until

HANDLER = """
local zerg = require "zerg"

return function(req, res)
  local conn = req.conn
  conn.ctx.count = (conn.ctx.count or 0) + 1
  if req.path == "/watch" then
    conn:on_close(function(closed, reason)
      zerg.log.info("gone: %s, %s, %d", closed.remote_addr, reason, closed.ctx.count)
    end)
  elseif req.path == "/wait" then
    local gone = zerg.queue(1)
    conn:on_close(function()
      gone:put(true)
    end)
    zerg.log.info("waiting")
    gone:get()
    zerg.log.info("woken")
  elseif req.path == "/twice" then
    conn.ctx.count = conn.ctx.count + 1
  elseif req.path == "/raise" then
    error("no")
  end
  res:send(tostring(conn.ctx.count))
end
"""


@pytest.fixture
def watched(zerg):
    return zerg(files={"web.lua": HANDLER}, listeners=[
        {"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"}])


def test_ctx_lasts_over_the_requests_of_a_connection_and_no_longer(watched, engine):
    watched.log.allow("no")
    for _ in range(20):
        client = watched.connect()
        assert [ask(client, get("/")).body for _ in range(3)] == [b"1", b"2", b"3"]
        assert ask(client, get("/raise")).status == 500
        assert ask(client, get("/")).body == b"5"
        client.close()


@pytest.mark.parametrize("way", ["close", "reset", "half-close"])
def test_a_script_is_told_once_that_the_client_has_gone(watched, engine, way):
    client = watched.connect()
    for _ in range(2):
        ask(client, get("/watch"))
    {"close": client.close, "reset": client.reset, "half-close": client.half_close}[way]()
    until(lambda: len(watched.log.find("gone: 127.0.0.1, .*, 2")) == 2, "both callbacks")
    assert len(watched.log.find("gone: ")) == 2


def test_a_script_is_told_while_its_handler_waits(watched, engine):
    client = watched.connect()
    client.send(get("/wait"))
    watched.log.wait("waiting")
    client.half_close()
    watched.log.wait("woken")


def test_ctx_lasts_for_a_client_that_only_listens(watched, engine):
    client = watched.connect()
    client.send(get("/") + get("/twice"))
    client.half_close()
    assert answer(client).body == b"1"
    assert answer(client).body == b"3"


def test_who_stops_is_not_held_up(watched, engine):
    clients = [watched.connect() for _ in range(5)]
    for client in clients:
        ask(client, get("/watch"))
    watched.stop()
