"""The examples of HTTP that forward, gateway.lua, split.lua and websocket/, and the command lines for HTTP without a
configuration, with real clients."""

import json

import pytest

from harness import Server, free_port
from httpserver import Answering, Upstream, answered
from httptalk import answer, ask, get, post
from peer import until
from talkers import Refusing
from test_examples import EXAMPLES, start_with_targets
from webclients import NODE_MODULES, curl, node

# ---- gateway.lua ----

USERS, ORDERS = "127.0.0.1:3001", "127.0.0.1:3002"
KEY = "X-Api-Key: batch-key"


class Named(Answering):
    """Says its name and what it was asked for."""

    def __init__(self, name):
        super().__init__(lambda request: answered(f"{name} {request.method} {request.target} {request.body.decode()}",
                                                  "Server: secret", "X-Powered-By: secret", "X-Stays: 1"))


@pytest.fixture
def gateway(zerg, behind):
    """The example, and the two servers behind it."""
    users, orders = behind(Named, "users"), behind(Named, "orders")
    server = start_with_targets(zerg, "gateway.lua", {USERS: users.target, ORDERS: orders.target},
                                "--http", "--reactors", "1")
    return server, users, orders


def test_gateway_lets_nobody_in_without_a_key(gateway):
    server, users, orders = gateway
    client = server.connect()
    for fields in ([], ["X-Api-Key: wrong"], ["X-Api-Key:"], ["X-Api-Key: batch-key, demo-key"], [KEY, KEY]):
        got = ask(client, get("/v1/users/7", *fields))
        assert got.status == 401 and json.loads(got.body)["problem"].startswith("X-Api-Key")
    assert users.received == orders.received == b""


@pytest.mark.parametrize("path, line", [
    ("/v1/users/7", "users GET /users/7 "), ("/v1/orders/", "orders GET /orders/ "),
    ("/v1/users/a/b?c=%20d&e", "users GET /users/a/b?c=%20d&e "),
    ("/v1/users/a%20b%22%3f%23%25%C3%A9", "users GET /users/a%20b%22%3f%23%25%C3%A9 "),
    ("/v1/users/~a.b-c_d!$&'()*+,;=:@", "users GET /users/~a.b-c_d!$&'()*+,;=:@ "),
    ("/v1/users/%41", "users GET /users/%41 "), ("/v1/users//a", "users GET /users//a "),
])
def test_gateway_chooses_the_server_and_the_path(gateway, path, line):
    server, _, _ = gateway
    got = ask(server.connect(), get(path, KEY))
    assert (got.status, got.body.decode()) == (200, line)


@pytest.mark.parametrize("path", [
    "/", "/v1", "/v1/users", "/v1/userss/7", "/v1/users/../x", "/v2/users/7", "/v1/users/../orders/x",
    "/v1/users/%2e%2E/x", "/v1/users/./7", "/v1/users/a/..", "/v1/%75sers/7"])
def test_gateway_knows_no_other_path(gateway, path):
    """Nor one that is another once dots and escapes are undone."""
    server, users, orders = gateway
    got = ask(server.connect(), get(path, KEY))
    assert got.status == 404 and "there is no " in json.loads(got.body)["problem"]
    assert users.received == orders.received == b""


def test_gateway_tells_the_server_who_asks_and_nobody_the_key(gateway):
    server, users, _ = gateway
    got = ask(server.connect(), post("/v1/users/", "body", KEY, "X-Client: somebody", "X-Other: 1"))
    assert got.body == b"users POST /users/ body"
    assert (got["Server"], got["X-Powered-By"], got["X-Stays"]) == (None, None, "1")
    [request] = users.requests
    assert (request["X-Client"], request["X-Api-Key"], request["X-Other"]) == ("batch", None, "1")
    assert b"batch-key" not in users.received


def test_gateway_says_when_to_come_back(gateway):
    """Ten at once; at five a second more than one second is never to be waited."""
    server, users, _ = gateway
    client = server.connect()
    got = [ask(client, get("/v1/users/", "X-Api-Key: demo-key")) for _ in range(60)]
    refused = [one for one in got if one.status == 429]
    assert {one.status for one in got[:10]} == {200} and refused
    assert all(one["Retry-After"] == "1" and b"too many" in one.body for one in refused)
    assert len(users.requests) == 60 - len(refused)
    assert ask(client, get("/v1/users/", KEY)).status == 200, "another client has its own rate"
    until(lambda: ask(client, get("/v1/users/", "X-Api-Key: demo-key")).status == 200, "a token comes back")


def test_gateway_answers_for_a_server_that_is_down(zerg, behind):
    users, orders = behind(Refusing), behind(Named, "orders")
    server = start_with_targets(zerg, "gateway.lua", {USERS: users.target, ORDERS: orders.target}, "--http")
    server.log.allow("upstream|server ")
    client = server.connect()
    assert ask(client, post("/v1/users/", "body", KEY)).status == 502
    server.log.expect(f"{users.target} for batch: refused")
    assert ask(client, get("/v1/orders/1", KEY)).body == b"orders GET /orders/1 "


# ---- split.lua ----

OLD, NEW = "127.0.0.1:3001", "127.0.0.1:3002"


def version_of(request):
    return answered(request["X-Version"] or "none", "Set-Cookie: session=1")


@pytest.fixture
def split(zerg, behind):
    """Starts the example before these servers."""

    def start(old=None, new=None):
        targets = {OLD: (old or behind(Answering, lambda request: answered("old"))).target,
                   NEW: (new or behind(Answering, lambda request: answered("new"))).target}
        server = start_with_targets(zerg, "split.lua", targets, "--http", "--reactors", "1")
        server.log.allow("upstream|server ")
        return server
    return start


def test_split_gives_a_tenth_the_new_version(split):
    """With p = 0.1, 2000 visitors and ten standard deviations either way."""
    client = split().connect()
    seen = []
    for _ in range(2000):
        got = ask(client, get("/"))
        seen.append(got.body.decode())
        assert got["Set-Cookie"] == f"version={seen[-1]}; Path=/; Max-Age=2592000; SameSite=Lax"
    assert 66 < seen.count("new") < 334 and seen.count("new") + seen.count("old") == 2000


@pytest.mark.parametrize("cookie", ["version={}", "a=b; version={}", "version={}; a=b", "a=b;version={};c",
                                    "version=x; version={}"])
@pytest.mark.parametrize("version", ["old", "new"])
def test_split_keeps_a_visitors_version(split, cookie, version):
    client = split().connect()
    for _ in range(30):
        got = ask(client, get("/", "Cookie: " + cookie.format(version)))
        assert (got.body.decode(), got["Set-Cookie"]) == (version, None)


@pytest.mark.parametrize("cookie", ["version=other", "versions=new", "Version=new", "version", "x=version=new"])
def test_split_takes_nothing_else_for_a_version(split, cookie):
    assert "version=" in ask(split().connect(), get("/", "Cookie: " + cookie))["Set-Cookie"]


def test_split_leaves_cookies_of_the_server_to_those_who_are_known(split, behind):
    servers = behind(Answering, version_of)
    got = ask(split(old=servers, new=servers).connect(), get("/", "Cookie: version=new"))
    assert (got.body, got["Set-Cookie"]) == (b"new", "session=1")


def test_split_shows_the_other_version_when_one_is_down(split, behind):
    server = split(new=behind(Refusing))
    server.log.allow("the new version does not answer: refused")
    client = server.connect()
    for text in (get("/", "Cookie: version=new"), post("/", "body", "Cookie: version=new")):
        got = ask(client, text)
        assert (got.status, got.body, got["Set-Cookie"]) == (200, b"old", None)
    server.log.expect("the new version does not answer: refused")


def test_split_is_502_when_both_are_down(split, behind):
    server = split(behind(Refusing), behind(Refusing))
    server.log.allow("version does not answer")
    client = server.connect()
    assert [ask(client, get("/")).status for _ in range(2)] == [502, 502]


# ---- websocket/ ----

CHATTERS = """
const assert = require("assert"), { WebSocket } = require("ws")
const url = process.argv[1]
const heard = [[], []]
const clients = heard.map((lines) => {
  const socket = new WebSocket(url)
  socket.on("message", (data, isBinary) => { lines.push(data.toString()); if (isBinary) lines.push("binary"); check() })
  socket.on("open", () => { if (clients.every((one) => one.readyState === WebSocket.OPEN)) speak() })
  socket.on("error", (error) => { throw error })
  return socket
})
const long = "x".repeat(200000)
function speak() {
  for (const said of ["hello", long, Buffer.from("bytes")]) clients[0].send(said)
}
function check() {
  if (heard.some((lines) => lines.length < 4)) return
  for (const lines of heard) assert.deepEqual(lines, ["hello", long, "bytes", "binary"])
  console.log("heard")
  clients.forEach((one) => one.close(4001))
}
clients[1].on("close", (code) => console.log(code))
"""


@pytest.fixture
def websocket(zerg, services, monkeypatch):
    """The configuration of the example, with its server behind it."""
    monkeypatch.setenv("NODE_PATH", NODE_MODULES)
    chat = services.node((EXAMPLES / "websocket/server.js").read_text())
    text = (EXAMPLES / "websocket/zerg.lua").read_text()
    for old, new in (('"127.0.0.1:3000"', f'"{chat.target}"'), ("port = 8080", "port = $PORT")):
        assert old in text
        text = text.replace(old, new)
    return zerg(config=text).wait_listening()


def test_websocket_serves_its_page(websocket):
    got = curl("-i", f"http://127.0.0.1:{websocket.port}/")
    assert "Content-Type: text/html; charset=utf-8\r\n" in got and "new WebSocket(" in got


def test_websocket_has_all_hear_what_one_says(websocket):
    assert node(CHATTERS, f"ws://127.0.0.1:{websocket.port}/chat") == "heard\n4001\n"


def test_websocket_passes_on_what_is_no_websocket(websocket):
    """The server's own refusal."""
    assert ask(websocket.connect(), get("/chat")).status == 426


# ---- the command line ----


@pytest.fixture
def command(zerg):
    """Starts the program with these words; $PORT is where it listens."""

    def start(*words, files=None):
        port = free_port()
        words = [word.replace("$PORT", str(port)) for word in words]
        server = Server(zerg.directory(files), words, [("127.0.0.1", port)])
        zerg.servers.append(server)
        return server.wait_listening()
    return start


@pytest.mark.parametrize("listen", [":$PORT", "127.0.0.1:$PORT"])
def test_proxy_passes_http_on(command, behind, listen):
    servers = [behind(Named, name) for name in ("a", "b")]
    server = command("proxy", listen, *[one.target for one in servers])
    url = f"http://127.0.0.1:{server.port}/x?y"
    heard = {curl("-d", "body", url) for _ in range(8)}
    assert heard == {"a POST /x?y body", "b POST /x?y body"}
    assert all(request["X-Forwarded-For"] == "127.0.0.1" for one in servers for request in one.requests)


def test_proxy_of_one_server_keeps_connections(command, behind):
    upstream = behind(Upstream)
    client = command("proxy", ":$PORT", upstream.target).connect()
    peer, _ = upstream.turn(client, get("/1"))
    assert answer(client).body == b"ok"
    upstream.turn(client, get("/2"), peer=peer)
    assert answer(client).body == b"ok"


def test_proxy_says_502(command, behind):
    server = command("proxy", ":$PORT", behind(Refusing).target)
    server.log.allow("upstream|server ")
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{server.port}/") == "502"


def test_a_script_serves_http(command):
    text = """return function(req, res)
        res:status(201):send(req.method .. " " .. req.path .. " " .. req:body() .. "\\n")
    end"""
    server = command("script.lua", "--http", "-p", "$PORT", files={"script.lua": text})
    got = curl("-d", "body", "-w", "%{http_code}", f"http://127.0.0.1:{server.port}/a%20b")
    assert got == "POST /a b body\n201"
