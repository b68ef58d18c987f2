"""req:forward where something is wrong: with how it is called, with a server, or with the client; and what a handler
can do then. What works is in test_http_req_forward.py."""

import json
import signal

import pytest

from httpserver import Answering, answered
from httptalk import answer, ask, chunked, get, head, post, said
from peer import Blackhole, pattern
from talkers import Refusing

FORWARD = 'say(req:forward("app"))'


# ---- misuse ----

TARGET = 'expected the name of an upstream, "host:port", '
MISUSE = {
    "no_target": ("req:forward()", TARGET),
    "target_of_another_type": ("req:forward(7)", TARGET + '"[v6]:port", "unix:/path" or "srv:name", got number'),
    "unknown_upstream": ('req:forward("nowhere")', TARGET + '"[v6]:port", "unix:/path" or "srv:name", got "nowhere"'),
    "empty_target": ('req:forward("")', TARGET),
    "no_port": ('req:forward("127.0.0.1")', TARGET),
    "nul_in_target": ('req:forward("app\\0")', TARGET),
    "options_of_another_type": ('req:forward("app", 7)', "expected a table of options, got number"),
    "unknown_option": ('req:forward("app", { timeout = 1 })', "unknown option 'timeout'"),
    "number_as_option": ('req:forward("app", { 1 })', "unknown option '1'"),
    "path_without_slash": ('req:forward("app", { path = "a" })', "path: expected a path such as"),
    "path_with_blank": ('req:forward("app", { path = "/a b" })', "path: expected a path such as"),
    "path_with_fragment": ('req:forward("app", { path = "/a#b" })', "path: expected a path such as"),
    "path_with_line": ('req:forward("app", { path = "/a HTTP/1.1\\r\\nX: y" })', "path: expected a path such as"),
    "path_with_cr": ('req:forward("app", { path = "/a\\r" })', "path: expected a path such as"),
    "path_of_number": ('req:forward("app", { path = 7 })', "path: expected a path such as"),
    "method_with_blank": ('req:forward("app", { method = "GET /x" })', "method: expected a method"),
    "method_with_line": ('req:forward("app", { method = "GET\\n" })', "method: expected a method"),
    "method_empty": ('req:forward("app", { method = "" })', "method: expected a method"),
    "method_connect": ('req:forward("app", { method = "CONNECT" })', "method: GET cannot be exchanged for CONNECT"),
    "method_head": ('req:forward("app", { method = "HEAD" })', "method: GET cannot be exchanged for HEAD"),
    "body_of_number": ('req:forward("app", { body = 7 })', "body: expected a string, got 7"),
    "headers_of_string": ('req:forward("app", { headers = "A: b" })', "headers: expected a table of fields"),
    "header_with_cr": ('req:forward("app", { headers = { A = "b\\rX: y" } })', "headers: A cannot have that value"),
    "header_with_lf": ('req:forward("app", { headers = { A = "b\\nX: y" } })', "headers: A cannot have that value"),
    "header_with_nul": ('req:forward("app", { headers = { A = "b\\0" } })', "headers: A cannot have that value"),
    "header_name_with_line": ('req:forward("app", { headers = { ["A\\r\\nB"] = "c" } })', "cannot be set"),
    "header_name_with_colon": ('req:forward("app", { headers = { ["A:"] = "c" } })', 'headers: "A:" cannot be set'),
    "header_name_empty": ('req:forward("app", { headers = { [""] = "c" } })', 'headers: "" cannot be set'),
    "header_name_of_number": ('req:forward("app", { headers = { "c" } })', "headers: expected names, got number"),
    "header_of_table": ('req:forward("app", { headers = { A = {} } })',
                        "headers: A: expected a string, or false to remove it, got table"),
    "header_of_true": ('req:forward("app", { headers = { A = true } })', "headers: A: expected a string, or false"),
    "length": ('req:forward("app", { headers = { ["content-length"] = 1 } })', '"content-length" cannot be set'),
    "length_removed": ('req:forward("app", { headers = { ["Content-Length"] = false } })', "cannot be set"),
    "encoding": ('req:forward("app", { headers = { ["Transfer-Encoding"] = "chunked" } })', "cannot be set"),
    "connection": ('req:forward("app", { headers = { Connection = "close" } })', '"Connection" cannot be set'),
    "upgrade": ('req:forward("app", { headers = { Upgrade = "x" } })', '"Upgrade" cannot be set'),
    "expect": ('req:forward("app", { headers = { Expect = "100-continue" } })', '"Expect" cannot be set'),
    "response_length": ('req:forward("app", { response_headers = { ["Content-Length"] = 1 } })',
                        'response_headers: "Content-Length" cannot be set'),
    "response_line": ('req:forward("app", { response_headers = { A = "b\\r\\nc" } })',
                      "response_headers: A cannot have that value"),
    "on_response": ('req:forward("app", { on_response = {} })', "on_response: expected a function, got table"),
    "time_negative": ('req:forward("app", { connect_timeout = -1 })', "connect_timeout: expected seconds, got -1"),
    "time_of_string": ('req:forward("app", { read_timeout = "1" })', "read_timeout: expected seconds, got 1"),
    "time_without_end": ('req:forward("app", { read_timeout = 1 / 0 })', "read_timeout: expected seconds, got inf"),
    "time_that_is_none": ('req:forward("app", { read_timeout = 0 / 0 })', "read_timeout: expected seconds, got "),
    "retries_negative": ('req:forward("app", { retries = -1 })', "retries: expected a count, got -1"),
    "retries_of_parts": ('req:forward("app", { retries = 1.5 })', "retries: expected a count, got 1.5"),
    "retries_past_all": ('req:forward("app", { retries = 513 })', "retries: expected a count, got 513"),
    "key_of_number": ('req:forward("app", { hash_key = 7 })', "hash_key: expected a string, got 7"),
    "sent": ('res:send("x") req:forward("app")', "the answer was sent already"),
    "begun": ('res:write("x") req:forward("app")', "the answer was sent already"),
    "raised": ('req:forward("app") req:forward("app")', "the answer was sent already"),
}


@pytest.fixture(scope="module")
def behind_all():
    """A server for all of the module's misuse, that hardly anything goes to."""
    server = Answering(answered())
    yield server
    server.close()


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_raises_at_the_line_of_the_script(handling, behind_all, name):
    """Caught by the script, and by nobody."""
    call, message = MISUSE[name]
    server = handling("local function try()\n" + call + "\nend\nlocal ok, e = pcall(function() try() end)\n"
                      "say(e)\n" + call, behind_all.target)
    server.connect().send(get("/"))
    [(text, _)] = said(server)
    assert text.startswith("web.lua:4: req:forward: ") and message in text
    if name in ("sent", "begun", "raised"):
        server.log.allow("web.lua:8: ")  # by the answer, or by the second call
        return
    server.log.expect(r"web\.lua:8: req:forward: ")


RETURNS = {"7": "expected a table of fields or nil, got number",
           '"A: b"': "expected a table of fields or nil, got string",
           '{ ["Content-Length"] = "1" }': '"Content-Length" cannot be set', '{ "b" }': "expected names, got number",
           '{ A = "b\\r\\nc" }': "A cannot have that value", "{ A = {} }": "A: expected a string, or false"}


@pytest.mark.parametrize("returned", RETURNS)
def test_what_on_response_may_not_return(handling, upstream, returned):
    server = handling(f'req:forward("app", {{ on_response = function() return {returned} end }})', upstream.target)
    client = server.connect()
    peer, _ = upstream.turn(client, get("/"))
    assert answer(client).status == 500
    assert "web.lua:3: req:forward: on_response: " + RETURNS[returned] in server.log.expect("on_response")
    peer.expect_gone()


def test_an_error_in_on_response_is_500_and_the_servers_connection_is_dropped(handling, upstream, engine):
    server = handling('req:forward("app", { on_response = function() zerg.sleep(0.001) error("secret") end })',
                      upstream.target)
    client = server.connect()
    for reply in (answered(), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"):
        peer, _ = upstream.turn(client, get("/"), reply)
        got = answer(client)
        assert got.status == 500 and b"secret" not in got.body and got["Connection"] is None
        server.log.expect(r"web\.lua:3: secret")
        peer.expect_gone()


@pytest.mark.parametrize("fails", ['error("oops", 0)', "zerg.sleep(0.001) return 7", 'return { A = "b\\n" }'])
def test_who_catches_an_error_of_on_response_may_go_on(handling, behind, upstream, engine, fails):
    server = handling(f"""
        local _, message = pcall(req.forward, req, "app", {{ on_response = function() {fails} end }})
        say(message)
        say(req:forward("{behind(Answering, answered("second")).target}"))
    """, upstream.target)
    client = server.connect()
    for count in (1, 2):
        peer, _ = upstream.turn(client, get("/"))
        assert answer(client).body == b"second"
        peer.expect_gone()
        (message, _), (result, _) = said(server, 2 * count)[-2:]
        assert "on_response" in message or message == "oops"
        assert result["status"] == 200


def test_a_request_is_of_no_use_behind_its_handler(handling, upstream, engine):
    """On another reactor it is that of another request."""
    server = handling("""
        local kept = KEPT.req
        KEPT.req = req
        if not kept then return "kept" end
        local ok, message = pcall(function() kept:forward("app") end)
        return tostring(message)
    """, upstream.target, top="local KEPT = {}")
    client = server.connect()
    assert ask(client, get("/")).body == b"kept"
    assert ask(client, get("/")).body == b"web.lua:6: req used after its handler has ended"
    assert not upstream.is_called()


MEANWHILE = """
local function try(fn)
  local _, message = pcall(fn)
  return tostring(message)
end
local task = zerg.spawn(function()
  zerg.sleep(0.001)
  local second = try(function() req:forward("app") end)
  local read = try(function() req:body() end)
  say({ second, read, try(function() res:send("x") end), try(function() res:write("x") end) })
end)
say(req:forward("app"))
task:join()
"""


def test_a_request_that_is_being_forwarded_is_of_no_use_to_others(handling, upstream, engine):
    server = handling(MEANWHILE, upstream.target)
    client = server.connect().send(get("/", "Content-Length: 3", method="POST"))
    peer = upstream.accept()
    assert peer.head()["Content-Length"] == "3"
    second, read, *answers = said(server)[0][0]
    assert second == "web.lua:9: req:forward: another coroutine is reading or forwarding this request"
    assert read.endswith("req:body: this request is being read or forwarded already")
    assert len(answers) == 2 and all("the request is being forwarded" in text for text in answers), answers
    client.send("abc")
    assert peer.receive(3) == b"abc"
    peer.send(answered())
    got = answer(client)
    assert (got.status, got.body) == (200, b"ok")
    assert said(server, 2)[1][0]["status"] == 200


def test_a_request_whose_body_is_being_read_cannot_be_forwarded(handling, upstream, engine):
    server = handling("""
        local task = zerg.spawn(function() return req:body() end)
        zerg.sleep(0.001)
        local _, message = pcall(function() req:forward("app") end)
        say(message)
        return task:join()
    """, upstream.target)
    client = server.connect().send(get("/", "Content-Length: 3", method="POST"))
    assert said(server)[0][0] == "web.lua:5: req:forward: another coroutine is reading or forwarding this request"
    client.send("abc")
    assert answer(client).body == b"abc"
    assert not upstream.is_called()


# ---- servers that do not answer ----


BROKEN = {
    "closed": (b"", "closed before its answer"),
    "half_a_head": (b"HTTP/1.1 200 OK\r\nConte", "closed before its answer"),
    "no_http": (b"SSH-2.0-OpenSSH\r\n\r\n", None),
    "two_lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", None),
    "unasked_switch": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_is_none_is_nil_and_a_reason(handling, behind, engine, name):
    reply, words = BROKEN[name]
    other = behind(Answering, reply, True)
    server = handling(FORWARD, other.target, max_fails=0)
    client = server.connect()
    for count in (1, 2):
        got = ask(client, get("/", method="PUT"))
        assert (got.status, got["Connection"]) == (502, None)
        result, reason = said(server, count)[-1]
        assert result is None and reason and (words is None or reason == words)


STATUSES = {"refused": 502, "timeout": 504, "busy": 503, "dns": 502}


@pytest.fixture
def failing(handling, behind, upstream, dns):
    """Starts a server with an upstream that fails in this way; the text says what its handler does about it."""

    def start(way, body=FORWARD):
        options = {"max_fails": 0, "retries": 0}
        if way == "refused":
            return handling(body, behind(Refusing).target, **options)
        if way == "timeout":
            return handling(body, behind(Blackhole).target, connect_timeout=0.1, **options)
        if way == "dns":
            return handling(body, "none.test:80", options={"resolver": {"servers": dns.servers}}, **options)
        server = handling(body, upstream.target, max_connections=1, queue=0, **options)
        server.connect().send(get("/holds"))
        assert upstream.accept_request()[1].target == "/holds"
        return server
    return start


@pytest.mark.parametrize("way", STATUSES)
def test_a_handler_that_does_nothing_has_sent_the_status(failing, quick_engine, way):
    server = failing(way)
    client = server.connect()
    for text in (get("/"), post("/", "abc"), chunked("/", "abc"), get("/", method="HEAD")):
        got = ask(client, text)
        assert got.status == STATUSES[way] and got["Connection"] is None
    for result, reason in said(server, 4):
        assert result is None and reason.split(":")[0] == way, reason


@pytest.mark.parametrize("way", STATUSES)
def test_a_handler_may_answer_itself(failing, engine, way):
    server = failing(way, """
        local result, reason = req:forward("app", { response_headers = { ["X-Not"] = "1" } })
        if not result then
          res:status(299):header("X-Own", "1"):send((req:body() or "none") .. " " .. reason:match("^%l+"))
        end
    """)
    client = server.connect()
    for text, body in ((get("/"), ""), (post("/", "abc"), "abc"), (chunked("/", "abc"), "abc")):
        got = ask(client, text)
        assert (got.status, got["X-Own"], got["X-Not"]) == (299, "1", None)
        assert got.body.decode() == f"{body} {way}"


@pytest.mark.parametrize("way", STATUSES)
def test_a_second_server_gets_the_same_body(failing, behind, engine, way):
    second = behind(Answering, lambda request: answered(request.method.encode() + request.body))
    server = failing(way, f"""
        local result, reason = req:forward("app", {{ headers = {{ ["X-First"] = "1" }} }})
        if not result then
          result, reason = req:forward("{second.target}")
          say(result, reason)
        end
    """)
    client = server.connect()
    data = pattern(200_000).hex()
    for text, body in ((get("/"), ""), (post("/", data), data), (chunked("/", "abc", "def"), "abcdef")):
        got = ask(client, text)
        assert got.status == 200 and got.body.decode()[len(text.split(" ")[0]):] == body
    assert all(request["X-First"] is None for request in second.requests)
    assert all(result["server"] == second.target for result, _ in said(server, 3))


# ---- bodies that are gone ----


def test_a_body_that_was_read_goes_on(handling, upstream, engine):
    server = handling('local body = req:body() say(#body) say(req:forward("app"))', upstream.target)
    client = server.connect()
    data = pattern(100_000).hex()
    peer = None
    cases = ((post("/", data), data), (chunked("/", "abc", "def"), "abcdef"), (get("/"), ""))
    for count, (text, body) in enumerate(cases):
        sender = client.send_in_background(text.encode())
        peer = peer or upstream.accept()
        request = peer.request()
        sender.join()
        assert request.body.decode() == body and request["Transfer-Encoding"] is None
        peer.send(answered())
        assert answer(client).body == b"ok"
        assert said(server, 2 * count + 2)[2 * count][0] == len(body)


def test_a_body_may_go_to_several_when_it_was_read(handling, behind, upstream, engine):
    server = handling(f"""
        req:body()
        say(req:forward("app", {{ read_timeout = 0.2 }}))
        say(req:forward("{behind(Answering, lambda request: answered(request.body)).target}"))
    """, upstream.target)
    client = server.connect().send(post("/", "hello"))
    peer, request = upstream.accept_request()
    assert request.body == b"hello"
    assert answer(client).body == b"hello"
    peer.expect_gone()
    (first, why), (second, _) = said(server, 2)
    assert (first, why) == (None, "timeout") and second["status"] == 200


@pytest.mark.parametrize("text", [post("/", "hello"), chunked("/", "hel", "lo")], ids=["length", "chunks"])
def test_a_body_of_which_a_part_was_read_cannot_go_on(handling, upstream, engine, text):
    """Unless there is another one in its place."""
    server = handling("""
        for view in req:chunks() do break end
        say(req:forward("app"))
        say(req:forward("app", { body = "another" }))
    """, upstream.target)
    client = server.connect()
    _, request = upstream.turn(client, text)
    assert request.body == b"another" and answer(client).body == b"ok"
    (first, reason), (second, _) = said(server, 2)
    assert first is None and reason.startswith("body: ") and second["status"] == 200
    upstream.turn(client, text, peer=upstream.peers[0])
    assert answer(client).body == b"ok"


def test_an_upload_that_broke_off_cannot_be_made_again(handling, upstream, engine):
    server = handling("""
        local first, why = req:forward("app")
        say(first, why)
        say(req:forward("app"))
        return "own"
    """, upstream.target)
    client = server.connect().send(get("/", "Content-Length: 1000", method="PUT") + "x" * 500)
    peer = upstream.accept()
    assert peer.head().method == "PUT" and peer.receive(500) == b"x" * 500
    peer.reset()
    (first, why), (second, reason) = said(server, 2)
    assert (first, second) == (None, None) and why == "reset" and reason.startswith("body: ")
    assert not upstream.is_called()
    client.send("x" * 500)
    assert answer(client).body == b"own"


def test_a_body_that_is_too_long_is_413(handling, upstream):
    server = handling(FORWARD, upstream.target, listener={"limits": {"body_bytes": 10}})
    client = server.connect().send(get("/", "Transfer-Encoding: chunked", method="POST") + "8\r\n12345678\r\n")
    peer = upstream.accept()
    assert peer.head() and peer.receive(13) == b"8\r\n12345678\r\n"
    client.send("8\r\n12345678\r\n0\r\n\r\n")
    assert answer(client).status == 413
    peer.expect_gone()
    result, reason = said(server)[0]
    assert result is None and reason


def test_a_body_that_does_not_come_is_408(handling, upstream, engine):
    server = handling(FORWARD, upstream.target, listener={"timeouts": {"body": 0.2}})
    client = server.connect().send(get("/", "Content-Length: 3", method="POST") + "a")
    peer = upstream.accept()
    assert peer.head() and peer.receive(1) == b"a"
    assert answer(client).status == 408
    assert said(server) == [(None, "timeout: of the request's body")]
    peer.expect_gone()


# ---- what ends while the call is parked ----


def test_a_deadline_drops_the_server_and_the_handler_answers(handling, upstream, engine):
    server = handling("""
        say(zerg.deadline(0.2, req.forward, req, "app"))
        res:status(299):send("own")
    """, upstream.target)
    client = server.connect()
    for count in (1, 2):
        client.send(post("/", "abc"))
        peer, request = upstream.accept_request()
        assert request.body == b"abc"
        got = answer(client)
        assert (got.status, got.body) == (299, b"own")
        peer.expect_gone()
        assert said(server, count)[-1] == (None, "timeout")


@pytest.mark.parametrize("body", [
    pytest.param(get("/", "Content-Length: 6", method="POST") + "abc", id="of a length"),
    pytest.param(get("/", "Transfer-Encoding: chunked", method="POST") + "3\r\nabc\r\n", id="in chunks"),
])
def test_what_a_deadline_left_of_a_body_is_not_taken_for_one(handling, upstream, engine, body):
    server = handling("""
        local first = { zerg.deadline(0.2, req.forward, req, "app") }
        local count = 0
        for _ in req:chunks() do count = count + 1 end
        local again = { req:forward("app") }
        res:status(299):json({ first[2], tostring(req:body()), req.reason, count, again[2] })
    """, upstream.target)
    client = server.connect().send(body)
    peer = upstream.accept()
    assert peer.head()
    peer.upto(b"abc")
    peer.expect_gone()
    client.send("def" if "Length" in body else "3\r\ndef\r\n0\r\n\r\n")
    got = json.loads(answer(client).body)
    assert got == ["timeout", "nil", "body: a part of it was sent before", 0, "body: a part of it was read or sent before"]
    assert not upstream.is_called()


def test_a_body_that_chunks_began_is_not_taken_for_whole(handling, upstream, quick_engine):
    server = handling("""
        for _ in req:chunks() do break end
        local body, reason = req:body()
        say(body, reason)
        say(req:forward("app"))
        return "own"
    """, upstream.target)
    client = server.connect().send(get("/", "Content-Length: 6", method="POST") + "abc")
    client.send("def")
    assert answer(client).status == 200
    assert said(server, 2) == [(None, "body: a part of it was read before"),
                               (None, "body: a part of it was read or sent before")]
    assert not upstream.is_called()


def test_a_body_goes_on_behind_a_deadline(handling, upstream, engine):
    server = handling("""
        say(zerg.deadline(0.2, req.body, req))
        req:body()
        req:forward("app")
    """, upstream.target)
    client = server.connect().send(get("/", "Content-Length: 6", method="POST") + "abc")
    assert said(server) == [(None, "timeout")]
    client.send("def")
    peer, request = upstream.accept_request()
    assert request.body == b"abcdef"
    peer.send(answered())
    assert answer(client).body == b"ok"


def test_a_deadline_of_on_response_drops_the_server(handling, upstream, engine):
    server = handling("""
        say(zerg.deadline(0.1, req.forward, req, "app", { on_response = function() zerg.sleep(60) end }))
        return "own"
    """, upstream.target)
    client = server.connect()
    peer, _ = upstream.turn(client, get("/"))
    assert answer(client).body == b"own"
    peer.expect_gone()
    assert said(server) == [(None, "timeout")]


def test_a_deadline_while_connecting(handling, behind):
    server = handling("""
        say(zerg.deadline(0.1, req.forward, req, "app"))
        return "own"
    """, behind(Blackhole).target, connect_timeout=60)
    client = server.connect()
    assert ask(client, get("/")).body == b"own" and ask(client, get("/")).body == b"own"


def test_a_task_that_forwards_may_be_cancelled(handling, upstream, engine):
    server = handling("""
        local task = zerg.spawn(function() return req:forward("app") end)
        zerg.sleep(0.2)
        task:cancel()
        say(task:join())
        return req:body()
    """, upstream.target)
    client = server.connect()
    client.send(get("/"))
    peer, _ = upstream.accept_request()
    got = answer(client)
    assert (got.status, got.body) == (200, b"")
    peer.expect_gone()
    assert said(server) == [(None, "canceled")]
    assert ask(client, get("/")).status == 200


def test_a_task_may_forward_while_the_handler_waits_for_it(handling, upstream, engine):
    server = handling('say(zerg.spawn(function() return req:forward("app") end):join())', upstream.target)
    client = server.connect()
    for _ in range(2):
        upstream.turn(client, post("/", "abc"), peer=upstream.peers and upstream.peers[0])
        assert answer(client).body == b"ok"
    assert all(result["status"] == 200 for result, _ in said(server, 2))


@pytest.mark.parametrize("text", [get("/"), get("/", "Content-Length: 9", method="POST") + "abc"], ids=["get", "post"])
def test_a_client_that_goes_takes_its_request_with_it(handling, upstream, engine, text):
    server = handling(FORWARD + " say(res.sent)", upstream.target)
    client = server.connect().send(text)
    peer = upstream.accept()
    assert peer.head()
    if "abc" in text:
        assert peer.receive(3) == b"abc"
    client.reset()
    peer.expect_gone()
    assert said(server, 2) == [(None, "reset"), (False, None)]


def test_a_client_that_goes_while_on_response_parks(handling, upstream, engine):
    server = handling("""
        say(req:forward("app", { on_response = function()
          say("held")
          zerg.sleep(0.3)
        end }))
    """, upstream.target)
    client = server.connect()
    peer, _ = upstream.turn(client, get("/"), answered("ok", "Server: x"))
    assert said(server)[0][0] == "held"
    client.reset()
    peer.expect_gone()
    assert said(server, 2)[1] == (None, "reset")


def test_a_client_that_goes_in_the_answer_is_told_of(handling, upstream, engine):
    server = handling(FORWARD, upstream.target)
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    assert head(client)[0] == 200 and client.receive(3) == b"abc"
    client.reset()
    peer.expect_gone()
    [(result, _)] = said(server)
    assert (result["status"], result["bytes_down"], result["reason"]) == (200, 3, "reset")


def test_a_server_that_drains_waits_for_forwards(handling, upstream, quick_engine):
    server = handling(FORWARD, upstream.target, options={"drain_timeout": 60})
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    server.send_signal(signal.SIGTERM)
    server.log.wait("may finish within")
    peer.send(answered())
    got = answer(client)
    assert (got.body, got["Connection"]) == (b"ok", "close")
    assert said(server)[0][0]["status"] == 200
    assert server.wait_exit() == 0


@pytest.mark.parametrize("more", ["", ", { on_response = function() say('held') zerg.sleep(60) end }"])
def test_a_server_that_stops_does_not_wait_longer(handling, upstream, engine, more):
    server = handling(f'say(req:forward("app"{more})) say("after")', upstream.target, options={"drain_timeout": 0.3})
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    if more:
        peer.send(answered())
        said(server)
    server.send_signal(signal.SIGTERM)
    peer.expect_gone()
    assert server.wait_exit() == 0
    try:
        assert client.rest() == b""
    except ConnectionResetError:
        pass
