"""Reloads under connections that stay: HTTP moves at the next request, what C relays never notices, and upstreams keep
what is known of their servers."""

import re

import pytest

from httptalk import answer, ask, get
from luatext import ECHO
from peer import Backend, pattern
from reloads import reload, reload_fails, wait_for_versions
from test_reload import said, say

WEB = """local zerg = require "zerg"
local routes = {}
routes["/"] = function(req, res)
  local ctx = req.conn.ctx
  ctx.seen = (ctx.seen or 0) + 1
  res:send("WORD " .. ctx.seen)
end
routes["/stream"] = function(_, res)
  res:write("WORD,")
  while not zerg.reloading() do zerg.sleep(0.01) end
  res:write("WORD")
end
routes["/for_ever"] = function(_, res)
  while res:write("x") do zerg.sleep(0.02) end
  zerg.log.info("the stream was cut: %s", tostring(res.sent))
end
routes["/watched"] = function(req, res)
  req.conn:on_close(function(_, reason) zerg.log.info("WORD saw the end: %s", reason) end)
  res:send("watched")
end
routes["/states"] = function(_, res) res:send(tostring(zerg.reloading()) .. " " .. tostring(zerg.draining())) end
return function(req, res) return routes[req.path](req, res) end
"""


def web(word):
    return WEB.replace("WORD", word)


@pytest.fixture
def site(zerg, quick_engine):
    def start(listener=None, **options):
        return zerg(files={"web.lua": web("old")}, **options, listeners=[
            {"address": "127.0.0.1", "protocol": "http", "handler": "web.lua", **(listener or {})}])
    return start


def renew(server, word="new"):
    server.directory.write("web.lua", web(word))
    return reload(server)


# ---- HTTP ----


@pytest.mark.threads
def test_a_kept_connection_gets_the_new_version_at_its_next_request(site, control):
    server = site(drain_timeout=0.3)
    client = control(server)
    peers = server.connect_many(6)
    for peer in peers:
        assert ask(peer, get("/")).body == b"old 1"
        assert ask(peer, get("/")).body == b"old 2"
    renew(server)
    rows = wait_for_versions(client, 2)
    assert rows[0]["connections"] == 6
    for peer in peers:
        assert ask(peer, get("/")).body == b"new 1"  # ctx begins anew
        assert ask(peer, get("/states")).body == b"false false"
    for number in range(3, 6):
        assert renew(server, f"v{number}") == number
        for peer in peers:
            assert ask(peer, get("/")).body == f"v{number} 1".encode()


@pytest.mark.threads
def test_pipelined_requests_around_a_reload(site):
    server = site()
    peer = server.connect()
    peer.send(get("/stream") + get("/") * 5)
    assert peer.receive(4) == b"HTTP"
    renew(server)
    rest = peer.send(get("/", "Connection: close")).rest()
    assert rest.count(b"old") == 2  # the stream ended on the version that it began on
    assert [int(number) for number in re.findall(rb"new (\d)", rest)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.threads
def test_a_streaming_answer_finishes_on_its_version(site, control):
    server = site()
    client = control(server)
    peers = server.connect_many(4)
    for peer in peers:
        peer.send(get("/stream"))
        peer.expect("HTTP/1.1 200 OK\r\n")
    renew(server)
    for peer in peers:
        text = b""
        while not text.endswith(b"0\r\n\r\n"):
            text += peer.receive(1)
        assert text.count(b"old") == 2 and b"new" not in text
        assert ask(peer, get("/")).body == b"new 1"
    wait_for_versions(client, 2)


def test_an_answer_without_end_is_cut_at_drain_timeout(site, control):
    server = site(drain_timeout=0.3)
    client = control(server)
    server.log.allow("cut")
    peer = server.connect().send(get("/for_ever"))
    peer.expect("HTTP/1.1 200 OK\r\n")
    renew(server)
    wait_for_versions(client, 2)
    try:
        assert not peer.rest().endswith(b"0\r\n\r\n")
    except ConnectionResetError:
        pass


@pytest.mark.threads
def test_on_close_of_a_connection_that_went_over(site):
    server = site()
    peer = server.connect()
    assert ask(peer, get("/watched")).body == b"watched"
    renew(server)
    assert ask(peer, get("/watched")).body == b"watched"
    peer.close()
    server.log.wait("new saw the end")


def test_half_a_head_at_the_reload_is_the_new_versions(site, control):
    server = site(drain_timeout=0.2)
    server.log.allow("cut")
    client = control(server)
    peers = server.connect_many(3)
    assert ask(peers[0], get("/")).body == b"old 1"
    for peer in peers:
        peer.send("GET / HTTP/1.1\r\nHo")
    peers[2].send("st: a\r\n")
    renew(server)
    wait_for_versions(client, 2)
    for peer in peers[:2]:
        peer.send("st: a\r\n\r\n")
        assert answer(peer).body == b"new 1"
    peers[2].send("\r\n")
    assert answer(peers[2]).body == b"new 1"


def test_a_body_at_the_reload_is_read_by_the_version_that_began_with_it(zerg):
    body = 'return function(req, res) res:send("{} " .. #req:body()) end\n'
    server = zerg(files={"web.lua": body.format("old")},
                  listeners=[{"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"}])
    peer = server.connect().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
    server.log.wait("is ready")
    with server.connect() as other:
        assert ask(other, get("/", "Content-Length: 0")).body == b"old 0"
    server.directory.write("web.lua", body.format("new"))
    reload(server)
    peer.send("67890")
    assert answer(peer).body == b"old 10"
    assert ask(peer, get("/", "Content-Length: 0")).body == b"new 0"


def test_changed_routes_limits_and_time_outs(site):
    server = site({"limits": {"header_bytes": "4K"}, "timeouts": {"keepalive": 60}})
    peers = server.connect_many(3)
    large = get("/", "X: " + "y" * 2000)
    for peer in peers:
        assert ask(peer, large).status == 200
    row = {**server.rows[0], "limits": {"header_bytes": "1K"}, "timeouts": {"keepalive": 0.3}}
    del row["handler"]
    row["routes"] = [{"path": "/only", "handler": "web.lua"}]
    server.configure(listeners=[row])
    reload(server)
    assert ask(peers[0], get("/")).status == 404
    assert ask(peers[1], large).status == 431
    peers[0].expect_end(within=5)
    peers[2].expect_end(within=5)


def test_a_listener_that_speaks_another_protocol_now(site):
    server = site()
    idle, busy = server.connect_many(2)
    for peer in (idle, busy):
        assert ask(peer, get("/")).status == 200
    server.directory.write("handler.lua", say("tcp"))
    row = {key: value for key, value in server.rows[0].items() if key not in ("protocol", "handler")}
    server.configure(listeners=[row])
    reload(server)
    assert said(server) == "tcp"
    assert ask(busy, get("/"))["Connection"] == "close"
    busy.expect_end()
    idle.expect_end(within=5)


# ---- relays ----


@pytest.mark.threads
def test_a_relay_survives_reloads_and_drain_timeout(zerg, behind, control, quick_engine):
    backend = behind(Backend)
    server = zerg(listeners=[{"address": "127.0.0.1", "forward": "app"}], drain_timeout=0.2,
                  upstreams={"app": {"servers": [backend.target]}}).wait_listening()
    client = control(server)
    peer = server.connect()
    other = backend.accept()
    data = pattern(3 << 20)
    thread = peer.send_in_background(data)
    for number in (2, 3, 4):
        assert reload(server) == number
        wait_for_versions(client, number)
        assert other.receive(1 << 20) == data[(number - 2) << 20:(number - 1) << 20]
    thread.join()
    other.send("and back")
    peer.expect("and back")


@pytest.mark.threads
def test_a_relay_of_a_removed_listener_is_cut_at_drain_timeout(zerg, behind, control):
    backend = behind(Backend)
    server = zerg(ECHO, listeners=[{"address": "127.0.0.1"}, {"address": "127.0.0.1", "forward": backend.target}],
                  drain_timeout=0.3, reactors=2)
    server.log.allow("cut")
    peer = server.wait_listening().connect(1)
    backend.accept()
    server.configure(listeners=server.rows[:1])
    reload(server)
    try:
        assert peer.rest() == b""
    except ConnectionResetError:
        pass
    wait_for_versions(control(server), 2)


def test_a_proxied_download_survives_drain_timeout(proxy, upstream, control):
    server = proxy(upstream.target, top={"drain_timeout": 0.2})
    client = control(server)
    server.log.allow("cut")
    peer = server.connect().send(get("/"))
    exchange = upstream.accept()
    exchange.request()
    data = pattern(2 << 20)
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:1000])
    peer.expect("HTTP/1.1 200 OK\r\n")
    reload(server)
    server.log.wait("version 1 had its time")
    thread = exchange.send_in_background(data[1000:])
    assert answer_rest(peer, len(data)) == data
    thread.join()
    wait_for_versions(client, 2)


def answer_rest(peer, count):
    while peer.line() != "\r":
        pass
    return peer.receive(count)


def test_a_handler_with_migrate_that_only_http_has_is_refused(site):
    server = site().wait_listening()
    server.directory.write("web.lua", "return {\n  serve = print,\n  migrate = function() end,\n}\n")
    reload_fails(server, "web.lua:3: `migrate` is never called")
