"""req:forward from handlers: where a request goes, what each option changes of it and of its answer, and what the call
gives. What breaks is in test_http_req_forward_faults.py."""

import json

import pytest

from httpserver import Answering, Upstream, answered, answered_in_chunks, both_ways
from httptalk import answer, ask, chunked, get, post, said
from peer import PATIENCE, SCALE, Blackhole, pattern
from talkers import Refusing

FORWARD = 'say(req:forward("app"))'


def turn_of(handling, upstream, body, text, reply=None):
    """One request through a handler of these statements: what came to the server, and the client's answer."""
    client = handling(body, upstream.target).connect()
    _, request = upstream.turn(client, text, reply)
    return request, answer(client)


# ---- the round trip ----


def test_a_request_makes_the_round_trip(handling, upstream, engine):
    server = handling(FORWARD, upstream.target)
    client = server.connect()
    peer = None
    for count in (1, 2):
        peer, request = upstream.turn(client, post("/a%20b?c=d", "hello", "X-Tag: 1"),
                                      answered("the answer", "X-B: 1", status="201 Made"), peer)
        assert request.line == "POST /a%20b?c=d HTTP/1.1"
        assert (request.body, request["X-Tag"], request["Host"]) == (b"hello", "1", "a.example")
        assert request["X-Forwarded-For"] == "127.0.0.1"
        got = answer(client)
        assert (got.status, got.body, got["X-B"]) == (201, b"the answer", "1")
        result, reason = said(server, count)[-1]
        assert 0 <= result.pop("duration") < PATIENCE and reason is None
        assert result == {"status": 201, "server": upstream.target, "bytes_up": 5, "bytes_down": 10}


def test_the_call_takes_as_long_as_the_answer(handling, upstream):
    server = handling(FORWARD, upstream.target)
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    assert client.line() == "HTTP/1.1 200 OK\r"
    peer.expect_silence(0.2)
    assert not server.log.find("said: ")
    peer.send("def")
    [(result, _)] = said(server)
    assert result["bytes_down"] == 6 and 0.15 < result["duration"] < PATIENCE


def test_bodies_in_chunks_go_on_with_their_trailers(handling, upstream, engine):
    server = handling(FORWARD, upstream.target)
    client = server.connect().send(chunked("/", "abc", "def", trailers="X-End: 1\r\n"))
    peer, request = upstream.accept_request()
    assert request.body == b"abcdef" and request.trailers == [("X-End", "1")]
    peer.send(answered_in_chunks("12", "345", trailers="X-Sum: 2\r\n"))
    client.expect("HTTP/1.1 200 OK\r\n")
    rest = b""
    while not rest.endswith(b"X-Sum: 2\r\n\r\n"):
        rest += client.receive(1)
    assert b"\r\nTransfer-Encoding: chunked\r\n" in rest and b"12" in rest and b"345" in rest
    [(result, _)] = said(server)
    assert (result["bytes_up"], result["bytes_down"]) == (6, 5)


@pytest.mark.parametrize("kind", ["upstream", "address", "address of 6", "path"])
def test_where_it_may_go(handling, behind, tmp_path, engine, kind):
    place = {"path": str(tmp_path / "server"), "address of 6": ("::1", 0)}.get(kind, ("127.0.0.1", 0))
    upstream = behind(Upstream, place)
    targets = [upstream.target] if kind == "upstream" else []
    name = "app" if kind == "upstream" else upstream.target
    server = handling("say(req:forward(TARGET))", *targets, top=f"local TARGET = {json.dumps(name)}")
    client = server.connect()
    upstream.turn(client, get("/x"), answered("here"))
    assert answer(client).body == b"here"
    assert said(server)[0][0]["server"] == upstream.target


def test_large_bodies_both_ways(handling, upstream, engine):
    client = handling(FORWARD, upstream.target, listener={"limits": {"body_bytes": "8m"}}).connect()
    text = get("/", "Content-Length: 3000000", "X-A: b", method="POST")
    both_ways(client, upstream, text, pattern(3_000_000))


MANY = """
local status
local result, reason = req:forward(TARGET, {
  path = req.path .. "/to?n=" .. req.query.n,
  headers = { ["X-N"] = req.query.n, ["X-Gone"] = false },
  response_headers = { ["X-Not"] = 1 },
  on_response = req.query.n % 2 == 0 and function(code, headers)
    status = code
    if req.query.n % 10 == 0 then
      zerg.sleep(0.001)
    end
    return { ["X-Seen"] = headers["x-echo"] .. "," .. code, Server = false }
  end or nil,
})
assert(result and not reason and result.status == 200 and (status or 200) == 200)
"""


def test_many_at_a_time_are_not_mixed_up(handling, behind, engine):
    """Pipelined on some connections, and compiled where the engine is told to."""
    def reply(request):
        return answered(request.target + " " + request.body.decode(), "X-Echo: " + request["X-N"], "Server: x")

    behind_it = behind(Answering, reply)
    server = handling(MANY, behind_it.target, top='local TARGET = "app"', keepalive=8)
    clients = server.connect_many(8)
    for at, client in enumerate(clients):
        client.send("".join(post(f"/c{at}?n={n}", f"{at}-{n}", "X-Gone: 1") for n in range(60)))
    for at, client in enumerate(clients):
        for n in range(60):
            got = answer(client)
            assert got.body.decode() == f"/c{at}/to?n={n} {at}-{n}"
            assert got["X-Seen"] == (f"{n},200" if n % 2 == 0 else None)
            assert (got["X-Not"], got["Server"]) == ((None, None) if n % 2 == 0 else ("1", "x"))
    assert all(request["X-Gone"] is None for request in behind_it.requests)


def test_a_connection_goes_on_behind_a_forward(handling, upstream, engine):
    """With the answers of the handler, and of further forwards, in their order."""
    server = handling("""
        if req.path == "/own" then return "own" end
        say(req:forward("app"))
    """, upstream.target)
    client = server.connect().send(get("/1") + get("/own") + post("/2", "abc") + get("/own"))
    peer, request = upstream.accept_request()
    assert request.target == "/1"
    client.expect_silence(0.1)
    peer.send(answered("first"))
    assert answer(client).body == b"first" and answer(client).body == b"own"
    assert peer.request().body == b"abc"
    peer.send(answered("second"))
    assert answer(client).body == b"second" and answer(client).body == b"own"


def test_a_handler_goes_on_when_the_client_has_its_answer(handling, upstream):
    server = handling('req:forward("app") zerg.sleep(0.1) say(res.sent)', upstream.target)
    client = server.connect()
    for count in (1, 2):
        upstream.turn(client, get("/"), peer=upstream.peers and upstream.peers[0])
        assert answer(client).body == b"ok"
        assert said(server, count)[-1][0] is True


# ---- what is changed of a request ----


@pytest.mark.parametrize("path, target", [
    (None, "/old/%41?q=1"), ("/new", "/new?q=1"), ("/new?", "/new?"), ("/new?x=%20y", "/new?x=%20y"), ("/", "/?q=1"),
    ("/%41%2F..//;a=b,c", "/%41%2F..//;a=b,c?q=1"),
])
def test_path(handling, upstream, path, target):
    body = f'say(req:forward("app", {{ path = {json.dumps(path)} }}))'.replace("null", "nil")
    request, got = turn_of(handling, upstream, body, get("/old/%41?q=1"))
    assert request.target == target and got.body == b"ok"


def test_path_where_there_was_no_query(handling, upstream):
    request, _ = turn_of(handling, upstream, 'say(req:forward("app", { path = "/new" }))', get("/old"))
    assert request.target == "/new"


@pytest.mark.parametrize("method, text", [
    ("PUT", post("/", "abc")), ("PURGE", get("/")), ("GET", chunked("/", "abc")), ("HEAD", get("/", method="HEAD")),
    ("a!b", post("/", "abc")),
])
def test_method(handling, upstream, method, text):
    client = handling(f'say(req:forward("app", {{ method = "{method}" }}))', upstream.target).connect()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" if method == "HEAD" else None
    peer, request = upstream.turn(client, text, reply)
    assert request.method == method and request.body == (b"abc" if "abc" in text else b"")
    assert answer(client, method)["Content-Length"] == "2"
    upstream.turn(client, text, reply, peer)
    assert answer(client, method).status == 200


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize("text", [get("/"), post("/", "old body"), chunked("/", "old", "body"),
                                  get("/", "Expect: 100-continue", "Content-Length: 3", method="PUT")],
                         ids=["none", "length", "chunks", "expect"])
def test_body(handling, upstream, text, size):
    """In place of what the client sends, of which nothing goes on; the connection does."""
    server = handling('say(req:forward("app", { body = BODY }))', upstream.target,
                      top=f'local BODY = ("\\0\\r\\n!"):rep({size}):sub(1, {size})')
    client = server.connect()
    for _ in range(2):
        client.send(text)
        peer = upstream.peers[0] if upstream.peers else upstream.accept()
        request = peer.request()
        assert request.body == (b"\0\r\n!" * size)[:size] and request["Content-Length"] == str(size)
        assert request["Transfer-Encoding"] is None and request["Expect"] is None
        peer.send(answered())
        got = answer(client)
        assert (got.status, got.body) == (200, b"ok")
        if got["Connection"] == "close":  # the client has not sent the body that it has announced
            assert "Expect" in text and client.rest() == b""
            break


HEADERS = """
say(req:forward("app", { headers = {
  Host = "app.internal", ["x-set"] = "new", ["X-Number"] = 7, ["X-Added"] = "a, b", Cookie = false, ["X-None"] = false,
  ["User-Agent"] = "", ["X-Twice"] = "one",
} }))
"""


def test_headers(handling, upstream, engine):
    request, _ = turn_of(handling, upstream, HEADERS, get(
        "/", "Cookie: a", "cookie: b", "X-Set: old", "User-Agent: me", "X-Twice: 1", "x-twice: 2", "X-Stays: 1"))
    assert {name: request.all(name) for name in (
        "Host", "X-Set", "X-Number", "X-Added", "Cookie", "X-None", "User-Agent", "X-Twice", "X-Stays")} == {
            "Host": ["app.internal"], "X-Set": ["new"], "X-Number": ["7"], "X-Added": ["a, b"], "Cookie": [],
            "X-None": [], "User-Agent": [""], "X-Twice": ["one"], "X-Stays": ["1"]}


# ---- what is changed of an answer ----


def test_response_headers(handling, upstream, engine):
    body = """say(req:forward("app", { response_headers = {
        Server = false, ["X-Set"] = "new", ["X-N"] = 1.5, ["x-twice"] = "one", ["X-None"] = false } }))"""
    _, got = turn_of(handling, upstream, body, get("/"), answered(
        "ok", "Server: x", "x-set: old", "X-Twice: 1", "X-Twice: 2", "X-Stays: 1"))
    assert [got[name] for name in ("Server", "X-Set", "X-N", "X-Twice", "X-None", "X-Stays")] == [
        None, "new", "1.5", "one", None, "1"]


SEES = """
local seen
say(req:forward("app", {
  on_response = function(status, headers)
    local names = {}
    for name, value in pairs(headers) do names[#names + 1] = name .. "=" .. value end
    seen = { status, headers.SERVER, headers["x-b"], headers:all("X-b"), names, #headers:all("x-none"),
      headers["x-none"] == nil, req.method, res.sent, pcall(function() headers.a = 1 end) }
  end,
}))
say(seen)
"""


def test_on_response_sees_the_head(handling, upstream, engine):
    server = handling(SEES, upstream.target)
    client = server.connect()
    upstream.turn(client, get("/", "X-B: of the request"),
                  answered("ok", "Server: x", "X-B: 1", "x-b: 2", status="404 Not There"))
    got = answer(client)
    assert (got.status, got.body, got["X-B"], got["Server"]) == (404, b"ok", ["1", "2"], "x")
    seen = said(server, 2)[1][0]
    assert seen[:4] == [404, "x", "1, 2", ["1", "2"]]
    assert seen[4] == ["content-length=2", "server=x", "x-b=1", "x-b=2"]
    assert seen[5:10] == [0, True, "GET", False, False] and "cannot be changed" in seen[10]


@pytest.mark.parametrize("returned, fields", [
    ("nil", {"X-Option": "1", "Server": None, "X-New": None}),
    ("{}", {"X-Option": None, "Server": "x", "X-New": None}),
    ('{ ["X-New"] = status, ["X-B"] = false }', {"X-Option": None, "Server": "x", "X-New": "200", "X-B": None}),
])
def test_what_on_response_returns_takes_the_place_of_response_headers(handling, upstream, engine, returned, fields):
    body = f"""say(req:forward("app", {{
        response_headers = {{ ["X-Option"] = "1", Server = false }},
        on_response = function(status) zerg.sleep(0.001) collectgarbage() return {returned} end }}))"""
    _, got = turn_of(handling, upstream, body, get("/"), answered("ok", "Server: x", "X-B: 1"))
    assert got.body == b"ok" and {name: got[name] for name in fields} == fields


PARKS = """
if req.path == "/go" then
  GATE:put(true)
  return "gone"
end
local result = req:forward("app", { on_response = function(status, headers)
  local before = headers.server
  zerg.log.info("waits")
  GATE:get()
  return { ["X-Same"] = tostring(before == "x" and headers.server == before) }
end })
say(result)
"""


@pytest.fixture
def parked(handling, upstream):
    """Gives a server and its client, whose answer waits in on_response, and what makes it go on."""

    def start(reply, ends=False, text=get("/")):
        server = handling(PARKS, upstream.target, top="local GATE = zerg.queue()")
        client = server.connect()
        peer, _ = upstream.turn(client, text, b"")
        sender = peer.send_in_background(reply)
        server.log.wait("waits")
        if ends:
            sender.join()
            peer.close()

        def go():
            assert ask(server.connect(), get("/go")).body == b"gone"
        return server, client, go, sender
    return start


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("reply, body", [
    (answered("hello", "Server: x"), b"hello"),
    (b"HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (answered("", "Server: x"), b""),
], ids=["length", "chunks", "empty"])
def test_on_response_may_park_and_nothing_goes_on_meanwhile(parked, reply, body, ends):
    server, client, go, _ = parked(reply, ends)
    client.expect_silence(0.1)
    assert not server.log.find("said: ")
    go()
    got = answer(client)
    assert (got.status, got.body, got["X-Same"]) == (200, body, "true")
    assert said(server)[0][0]["bytes_down"] == len(body)


def test_an_answer_that_ends_with_its_connection_may_do_so_while_on_response_parks(parked):
    server, client, go, _ = parked(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello", ends=True)
    client.expect_silence(0.1)
    go()
    assert answer(client).body == b"hello"
    assert said(server)[0][0]["bytes_down"] == 5


def test_a_large_answer_waits_for_on_response(parked):
    data = pattern(64 << 20)
    _, client, go, sender = parked(answered(data, "Server: x"))
    client.expect_silence(0.1)
    assert sender.is_alive(), "nobody holds it up"
    go()
    assert answer(client).body == data
    sender.join()


@pytest.mark.parametrize("method, reply", [
    ("HEAD", b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\n"),
    ("GET", b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n"),
    ("GET", b'HTTP/1.1 304 Not Modified\r\nServer: x\r\nETag: "a"\r\n\r\n'),
])
def test_on_response_of_an_answer_without_a_body(parked, upstream, method, reply):
    _, client, go, _ = parked(reply, text=get("/", method=method))
    client.expect_silence(0.05)
    go()
    got = answer(client, method)
    assert got.status == int(reply[9:12]) and got["X-Same"] == "true"


def test_on_response_does_not_see_what_comes_before_the_answer(handling, upstream):
    server = handling("""
        local count = 0
        local result = req:forward("app", { on_response = function(status, headers)
          count = count + 1
          return { ["X-Seen"] = status .. " " .. tostring(headers.link) }
        end })
        say(count)
    """, upstream.target)
    client = server.connect()
    early = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    upstream.turn(client, get("/"), early + early + answered("ok"))
    assert answer(client).status == 103 and answer(client).status == 103
    got = answer(client)
    assert got["X-Seen"] == "200 nil" and got.body == b"ok"
    assert said(server)[0][0] == 1


# ---- how a server is chosen, and for how long it is waited for ----


def test_connect_timeout(handling, behind):
    server = handling('say(req:forward("app", { connect_timeout = 0.2 }))', behind(Blackhole).target,
                      connect_timeout=60)
    assert ask(server.connect(), get("/")).status in (502, 504)
    [(result, reason)] = said(server)
    assert result is None and reason in ("timeout", "refused")


def test_read_timeout(handling, upstream, engine):
    server = handling('say(req:forward("app", { read_timeout = 0.2 }))', upstream.target, read_timeout=60)
    client = server.connect()
    peer, _ = upstream.turn(client, get("/"), b"HTTP/1.1 200 OK\r\nConte")
    assert answer(client).status == 504
    assert said(server) == [(None, "timeout")]
    peer.expect_gone()
    upstream.turn(client, get("/"))
    assert answer(client).body == b"ok"


def test_read_timeout_may_be_longer_than_the_upstreams(handling, upstream):
    server = handling(f'say(req:forward("app", {{ read_timeout = {30 * SCALE} }}))', upstream.target, read_timeout=0.1)
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    client.expect_silence(0.3)
    peer.send(answered())
    assert answer(client).body == b"ok"


@pytest.mark.parametrize("configured, option, statuses", [(1, 0, {200, 502}), (0, 1, {200}), (0, "nil", {200, 502})])
def test_retries(handling, behind, configured, option, statuses):
    """Two servers that take turns, of which one refuses."""
    server = handling(f'say(req:forward("app", {{ retries = {option} }}))', behind(Refusing).target,
                      behind(Answering, answered()).target, retries=configured, max_fails=0, balance="round_robin")
    client = server.connect()
    got = [ask(client, get("/")).status for _ in range(8)]
    assert set(got) == statuses
    reasons = {reason for _, reason in said(server, 8)}
    assert reasons == ({None, "refused"} if 502 in statuses else {None})


def test_hash_key(handling, behind, engine):
    servers = [behind(Answering, answered(str(i))) for i in range(4)]
    server = handling('say(req:forward("app", { hash_key = req.headers["x-user"] }))',
                      *[one.target for one in servers], balance="hash")
    clients = server.connect_many(3)
    by_key = {}
    for client in clients:
        for key in range(40):
            by_key.setdefault(key, set()).add(ask(client, get("/", f"X-User: {key}")).body)
    assert all(len(bodies) == 1 for bodies in by_key.values()), by_key
    assert len(set.union(*by_key.values())) == 4
    without = {ask(client, get("/")).body for client in clients for _ in range(5)}
    assert len(without) == 1, "without a key it is the client's address"
