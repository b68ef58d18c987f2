"""req:forward in odd places, and what is left of a request afterwards: from where nothing can yield, by tasks that outlive the
handler, with bodies that are partly gone, and options that change meanwhile."""

import pytest

from httpserver import Answering, answered
from httptalk import answer, ask, get, head, post, said
from peer import until


def test_from_where_nothing_can_yield_it_raises_and_leaves_nothing_behind(handling, behind, quick_engine):
    server = handling("""
        local ok, message = pcall(string.gsub, "x", "x", function()
          return req:forward("app", { path = "/" .. ("p"):rep(50), headers = { ["X-A"] = ("a"):rep(50) } })
        end)
        say(ok, message)
        for _ = 1, 20 do
          collectgarbage()
          zerg.sleep(0.001)
        end
        res:send("own")
    """, behind(Answering, answered()).target)
    for _ in range(3):
        assert ask(server.connect(), get("/")).body == b"own"


# The handler goes on when the test says so.
UNTIL_GO = 'while not io.open("go") do zerg.sleep(0.001) end'


@pytest.mark.parametrize("ends", ['return "early"', 'error("early")', "return"])
def test_a_forward_of_another_task_ends_with_the_handler(handling, upstream, engine, ends):
    server = handling(f"""
        zerg.spawn(function() say(req:forward("app")) end)
        {UNTIL_GO}
        {ends}
    """, upstream.target)
    server.log.allow("early|another task was forwarding")
    with server.connect().send(get("/")) as client:
        peer, _ = upstream.accept_request()
        server.directory.write("go", "")
        assert answer(client).status == 500
        peer.expect_gone()
        assert said(server)[0] == (None, "closed")
    (server.path / "go").unlink()
    with server.connect().send(get("/")) as other:
        upstream.accept_request()
        server.directory.write("go", "")
        assert answer(other).status == 500


def test_a_tunnel_of_another_task_goes_on_behind_the_handler(handling, upstream, engine):
    server = handling(f"""
        if req.path == "/tunnel" then
          zerg.spawn(function() say(req:forward("app")) end)
          {UNTIL_GO}
          zerg.log.info("the handler is done")
        else
          req:forward("app")
        end
    """, upstream.target)
    client = server.connect().send(get("/tunnel", "Connection: upgrade", "Upgrade: x"))
    peer, _ = upstream.accept_request()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    assert head(client)[0] == 101
    server.directory.write("go", "")
    until(lambda: server.log.find("the handler is done"), "the handler's end")
    others = [server.connect().send(get("/")) for _ in range(3)]  # in memory that the handler left
    seconds = [upstream.accept_request()[0] for _ in others]
    client.send("up")
    assert peer.receive(2) == b"up"
    peer.send("down").close()
    client.expect("down").expect_end()
    client.close()
    assert said(server)[0][0]["status"] == 101
    for other in others:
        other.reset()
    for second in seconds:  # whose forwards are still theirs
        second.expect_gone()


def test_a_body_that_went_with_a_forward_is_not_had_again(handling, upstream, quick_engine):
    server = handling("""
        local first = { req:forward("app") }
        local body, reason = req:body()
        local again = { req:forward("app") }
        res:status(502):json({ first[2], body or "none", reason, again[2] })
    """, upstream.target, retries=0)
    client = server.connect().send(post("/", "x" * 2000))
    peer, _ = upstream.accept_request()
    peer.reset()
    got = answer(client)
    assert got.body.startswith(b'["reset","none","body: a part of it was sent before","body: ')


def test_options_may_change_meanwhile(handling, upstream, quick_engine):
    server = handling("""
        options.path = "/" .. req.target:sub(2):rep(20)
        options.method = req.target == "/a" and "PUT" or "DELETE"
        say(req:forward("app", options))
    """, upstream.target, top="local options = {}", retries=3)
    first = server.connect().send(get("/a"))
    peer, request = upstream.accept_request()
    second = server.connect().send(get("/b"))
    _, other = upstream.accept_request()
    assert (request.line, other.line) == ("PUT /" + "a" * 20 + " HTTP/1.1", "DELETE /" + "b" * 20 + " HTTP/1.1")
    peer.reset()
    again, request = upstream.accept_request()
    assert request.line == "PUT /" + "a" * 20 + " HTTP/1.1"
    again.send(answered())
    assert answer(first).status == 200
    second.close()


def test_the_server_s_time_does_not_run_while_on_response_parks(handling, upstream):
    server = handling("""
        say(req:forward("app", { read_timeout = 0.3, on_response = function() zerg.sleep(0.8) end }))
    """, upstream.target)
    client = server.connect().send(get("/", "Content-Length: 6", method="POST") + "abc")
    peer = upstream.accept()
    assert peer.head() and peer.receive(3) == b"abc"
    peer.send(answered())
    client.send("def")
    assert answer(client).status == 200


def test_connect_tells_the_server_who_the_client_is(zerg, upstream):
    script = 'return { serve = function() end, connect = function(req) req:forward("app") end }'
    server = zerg(files={"web.lua": script}, upstreams={"app": {"servers": [upstream.target], "proxy_protocol": 1}},
                  listeners=[{"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"}])
    client = server.connect().send("CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\nPROXY TCP4 6.6.6.6\r\n")
    peer = upstream.accept()
    client.expect("HTTP/1.1 200 Connection Established\r\n\r\n")
    assert peer.line().startswith("PROXY TCP4 127.0.0.1 127.0.0.1 ")
    assert peer.line().startswith("PROXY TCP4 6.6.6.6")
