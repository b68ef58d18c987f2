"""Routes of an HTTP listener, and what the configuration alone changes in requests and answers on their way."""

import re

import pytest

from httpserver import FORWARDED, answered
from httptalk import answer, ask, get

OWN = "return function(req, res) res:header('X-Path', req.path) return 'own' end"
TABLE = [
    {"host": "a.example", "path": "/api/", "forward": "app", "strip": "/api"},
    {"host": "a.example", "path": "/", "handler": "own.lua"},
    {"host": "*.b.example", "path": "/", "forward": "app"},
]


def to(host, target, *lines, method="GET"):
    return get(target, *lines, method=method).replace("Host: a.example", f"Host: {host}")


@pytest.fixture
def routed(zerg, upstream):
    """Starts a server with the routes of a table before `upstream`, named app."""

    def start(routes, **listener):
        server = zerg(files={"own.lua": OWN}, upstreams={"app": {"servers": [upstream.target]}},
                      listeners=[{"address": "127.0.0.1", "protocol": "http", "routes": routes, **listener}])
        return server.wait_listening()

    return start


def test_a_request_goes_to_the_route_of_its_host_and_path(routed, upstream, engine):
    client = routed(TABLE).connect()
    assert ask(client, get("/site/%61")).body == b"own"
    peer, request = upstream.turn(client, get("/api/x%20y?z=%31"))
    assert request.line == "GET /x%20y?z=%31 HTTP/1.1" and request["Host"] == "a.example"
    assert answer(client).body == b"ok"
    for host, target in (("a.example", "/api"), ("a.example", "/api/../x"), ("a.example:80", "/"), ("A.EXAMPLE", "/")):
        assert ask(client, to(host, target)).body == b"own"
    _, request = upstream.turn(client, to("deep.sub.b.example", "/api/x"), peer=peer)
    assert request.line == "GET /api/x HTTP/1.1" and request["Host"] == "deep.sub.b.example"
    assert answer(client).body == b"ok"
    for host in ("b.example", "c.example", "xb.example"):
        assert ask(client, to(host, "/")).status == 404


@pytest.mark.parametrize("target, stripped", [
    ("/api/", "/"), ("/%61pi/x", "/x"), ("/b/../api/x", "/x"), ("/api/x/../y?a/../b", "/y?a/../b"),
    ("http://a.example/api/x?y", "/x?y"),
])
def test_what_is_stripped_off_a_path(routed, upstream, quick_engine, target, stripped):
    client = routed(TABLE).connect()
    _, request = upstream.turn(client, get(target))
    assert request.line == f"GET {stripped} HTTP/1.1"
    assert answer(client).body == b"ok"


def test_a_route_that_forwards_takes_bodies_of_any_size(routed, upstream, quick_engine):
    """While one with a handler refuses more than a mebibyte."""
    server = routed(TABLE)
    size = (1 << 20) + 1
    assert ask(server.connect(), get("/", f"Content-Length: {size}", method="POST")).status == 413
    client = server.connect()
    sender = client.send_in_background(get("/api/", f"Content-Length: {size}", method="POST").encode() + bytes(size))
    peer, request = upstream.accept_request()
    sender.join()
    assert len(request.body) == size
    peer.send(answered())
    assert answer(client).status == 200


CHANGES = {
    "headers": {"Host": "app.internal", "X-Env": "live", "Cookie": False},
    "response_headers": {"Server": False, "X-E": "1"},
}


@pytest.mark.parametrize("where", ["listener", "route"])
def test_fields_that_the_configuration_sets_and_removes(routed, proxy, upstream, engine, where):
    if where == "listener":
        server = proxy(upstream.target, listener=CHANGES)
    else:
        server = routed([{"path": "/", "forward": "app", **CHANGES}])
    client = server.connect()
    _, request = upstream.turn(client, get("/", "X-Env: test", "x-env: b", "COOKIE: a=b", "X-Stays: 1"),
                               answered("ok", "Server: other", "x-e: 0", "X-Stays: 2"))
    assert request["Host"] == "app.internal" and request["X-Env"] == "live" and request["Cookie"] is None
    assert request["X-Stays"] == "1" and request["X-Forwarded-Host"] == "a.example"
    got = answer(client)
    assert got["Server"] is None and got["X-E"] == "1" and got["X-Stays"] == "2"


# ---- what is added ----

BOTH = {"forwarded": True, "via": True}


def test_forwarded_and_via_begin_with_us(proxy, upstream, engine):
    client = proxy(upstream.target, listener={"forward_headers": BOTH}).connect()
    _, request = upstream.turn(client, get("/", "Forwarded: for=192.0.2.1", "Via: 1.0 outer"),
                               answered("ok", "Via: 1.1 inner"))
    assert request["Forwarded"] == 'for=127.0.0.1;host="a.example";proto=http'
    assert ", ".join(request.all("Via")) == "1.0 outer, 1.1 zerg"
    via = answer(client)["Via"]
    assert ", ".join(via if isinstance(via, list) else [via]) == "1.1 inner, 1.1 zerg"


def test_forwarded_of_a_trusted_proxy_is_continued(proxy, upstream, quick_engine):
    client = proxy(upstream.target, listener={"forward_headers": BOTH, "trusted": ["127.0.0.0/8"]}).connect()
    _, request = upstream.turn(client, get("/", "Forwarded: for=192.0.2.1"))
    assert ", ".join(request.all("Forwarded")) == 'for=192.0.2.1, for=127.0.0.1;host="a.example";proto=http'
    assert answer(client)["Via"] == "1.1 zerg"


def test_an_address_of_ipv6_is_quoted(proxy, upstream, quick_engine):
    server = proxy(upstream.target, listener={"address": "::1", "forward_headers": BOTH})
    _, request = upstream.turn(server.connect(), get("/"))
    assert re.match(r'for="\[::1\]";', request["Forwarded"]), request["Forwarded"]
    assert request["X-Forwarded-For"] == "::1"


def test_what_is_not_added_is_not_believed_either(proxy, upstream, quick_engine):
    lies = [f"{name}: 192.0.2.1" for name in (*FORWARDED, "Forwarded")]
    server = proxy(upstream.target, listener={"forward_headers": {"x_forwarded": False, "request_id": False}})
    _, request = upstream.turn(server.connect(), get("/", *lies))
    assert not any("192.0.2.1" in value for _, value in request.fields), request.head
    assert not any(request[name] for name in (*FORWARDED, "Forwarded", "Via"))
