"""What req:forward passes on that is no HTTP any more, and the trailers that scripts see and set."""

import pytest

from httpserver import UPGRADE, answered, switched
from httptalk import answer, ask, chunked, get, head, said
from peer import pattern

AFTER = """
local headers = req.headers
say(req:forward("app", { on_response = error, headers = { ["X-Set"] = "1" } }))
local function try(fn)
  local _, message = pcall(fn)
  return tostring(message):match("%l+ used after its handler has ended") or tostring(message)
end
say({ try(function() return req.method end), try(function() return res.sent end),
  try(function() return headers.host end), try(function() req:body() end), try(function() res:send("x") end),
  try(function() res:write("x") end), try(function() req:forward("app") end) })
return "more"
"""


def test_the_call_lasts_as_long_as_both_talk(handling, upstream, engine):
    server = handling(AFTER, upstream.target)
    client = server.connect()
    peer = switched(client, upstream, "first")
    client.expect("first").send("GET / HTTP/1.1\r\n\r\n")
    assert peer.receive(18) == b"GET / HTTP/1.1\r\n\r\n"
    client.half_close()
    assert peer.request() is None
    assert not server.log.find("said: ")
    data = pattern(1_000_000)
    sender = peer.send_in_background(data)
    assert client.receive(len(data)) == data
    sender.join()
    peer.close()
    assert client.rest() == b""
    (result, reason), (tries, _) = said(server, 2)
    assert (result["status"], result["bytes_up"], result["bytes_down"], reason) == (101, 18, 5 + len(data), None)
    assert "reason" not in result
    assert [text.split(" ")[0] for text in tries] == ["req", "res", "headers", "req", "res", "res", "req"]
    assert all("used after" in text for text in tries)


def test_a_refusal_to_switch_is_an_answer(handling, upstream, engine):
    server = handling('say(req:forward("app", { response_headers = { A = "b" } }))', upstream.target)
    client = server.connect()
    peer, _ = upstream.turn(client, UPGRADE, answered("no", status="400 Bad Request"))
    got = answer(client)
    assert (got.status, got.body, got["A"]) == (400, b"no", "b")
    upstream.turn(client, get("/"), peer=peer)
    assert answer(client).body == b"ok"
    assert [result["status"] for result, _ in said(server, 2)] == [400, 200]


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_ends_both(handling, upstream, engine, who):
    server = handling('say(req:forward("app"))', upstream.target)
    client = server.connect()
    peer = switched(client, upstream)
    (client if who == "client" else peer).reset()
    if who == "client":
        peer.expect_gone()
    else:
        client.expect_reset()
    result, _ = said(server)[0]
    assert result["status"] == 101 and result["reason"] == "reset"


def test_a_deadline_cuts_both(handling, upstream, engine):
    server = handling('say(zerg.deadline(0.3, req.forward, req, "app")) return "more"', upstream.target)
    client = server.connect()
    peer = switched(client, upstream, "first")
    client.expect("first").expect_reset()
    peer.expect_gone()
    assert said(server) == [(None, "timeout")]


def test_a_handler_may_end_before_the_task_that_forwards(handling, upstream, engine):
    server = handling("""
        zerg.spawn(function() say(req:forward("app")) end)
        zerg.sleep(0.2)
        say("ended")
    """, upstream.target)
    client = server.connect()
    peer = switched(client, upstream)
    assert said(server)[0][0] == "ended"
    client.send("up")
    assert peer.receive(2) == b"up"
    peer.send("down").close()
    client.expect("down").expect_end()
    client.close()
    assert said(server, 2)[1][0]["status"] == 101


# ---- trailers ----

TRAILERS = """
local before = req.trailers == nil
local body = req:body()
local names = {}
for name, value in pairs(req.trailers or {}) do names[#names + 1] = name .. "=" .. value end
res:json({ before = before, body = body, names = names, none = req.trailers == nil,
  one = req.trailers and req.trailers["X-SUM"], all = req.trailers and req.trailers:all("x-a") })
"""


@pytest.mark.parametrize("text, said_of_it", [
    (chunked("/", "abc", trailers="X-Sum: 7\r\nx-a: 1\r\nX-A: 2\r\n"),
     ['"names":["x-sum=7","x-a=1","x-a=2"]', '"one":"7"', '"all":["1","2"]', '"none":false', '"before":true']),
    (chunked("/", "abc"), ['"none":true', '"names":{}']),
    (get("/", "Content-Length: 3", method="POST") + "abc", ['"none":true', '"before":true']),
], ids=["fields", "none", "length"])
def test_a_handler_sees_the_trailers_of_a_body_that_it_has_read(handling, engine, text, said_of_it):
    client = handling(TRAILERS).connect()
    for _ in range(2):
        body = ask(client, text).body.decode()
        assert all(part in body for part in ['"body":"abc"', *said_of_it]), body


SETS = """
local ok, early = pcall(function() res:trailer("X-Early", "1") end)
res:write("abc"):trailer("X-Sum", 7):trailer("X-A", "1"):trailer("X-A", "2")
local out = { tostring(early):match("^web.lua:3: (.*)") }
for _, field in ipairs({ { "Content-Length", "1" }, { "Transfer-Encoding", "x" }, { "Trailer", "x" },
  { "Connection", "x" }, { "Host", "x" }, { "Set-Cookie", "x" }, { "Authorization", "x" }, { "A b", "x" },
  { "A", "b\\r\\nC: d" }, { 7, "x" }, { "A", true } }) do
  out[#out + 1] = pcall(res.trailer, res, field[1], field[2]) and field[1] .. " set" or "refused"
end
res:finish()
local _, late = pcall(res.trailer, res, "A", "b")
out[#out + 1] = late
say(out)
"""


def test_a_handler_sets_trailers(handling, engine):
    server = handling(SETS)
    client = server.connect().send(get("/"))
    got = b""
    while not got.endswith(b"X-A: 2\r\n\r\n"):
        got += client.receive(1)
    assert got.endswith(b"\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-A: 1\r\nX-A: 2\r\n\r\n")
    early, *fields, late = said(server)[0][0]
    assert early == "res:trailer: nothing was written yet" and "the answer was sent already" in late
    assert fields == ["refused"] * 11
    client.send(get("/"))
    assert head(client)[0] == 200


@pytest.mark.parametrize("length, version", [(False, "1.0"), (True, "1.1"), (True, "1.0")])
def test_trailers_behind_another_body_are_dropped(handling, engine, length, version):
    server = handling(("res:header('Content-Length', 3) " if length else "") + "res:write('abc'):trailer('X-Sum', 7)")
    got = ask(server.connect(), get("/", version=version))
    assert got.body == b"abc" and got["X-Sum"] is None
