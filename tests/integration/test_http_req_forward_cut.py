"""req:forward and answers that break off: whatever the handler does then, no client takes the part for the whole."""

import pytest

from httpserver import answered
from httptalk import answer, get, head, said

PARTS = {
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "until_close": b"HTTP/1.1 200 OK\r\n\r\nabc",
}

HANDLERS = {
    "nothing": 'say(req:forward("app"))',
    "finishes": 'say(req:forward("app")) pcall(res.finish, res)',
    "writes": 'say(req:forward("app")) pcall(res.write, res, "own") pcall(res.send, res, "own")',
    "returns": 'say(req:forward("app")) return "own"',
    "deadline": 'say(zerg.deadline(0.2, req.forward, req, "app"))',
    "deadline_writes": """say(zerg.deadline(0.2, req.forward, req, "app"))
        pcall(res.write, res, "own") pcall(res.finish, res)""",
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("does", HANDLERS)
def test_half_an_answer_is_cut(handling, upstream, quick_engine, does, part):
    server = handling(HANDLERS[does], upstream.target)
    server.log.allow("returned a body")
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    peer.send(PARTS[part])
    assert head(client)[0] == 200
    if not does.startswith("deadline"):
        client.receive(1)
        peer.reset()
    rest = b""
    with pytest.raises(ConnectionResetError):
        while data := client.sock.recv(4096):
            rest += data
    assert b"own" not in rest and not rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_clients_see_it_too(handling, upstream, version):
    server = handling(HANDLERS["nothing"], upstream.target)
    client = server.connect().send(get("/", version=version))
    peer, _ = upstream.accept_request()
    peer.send(PARTS["chunks"])
    assert head(client)[0] == 200
    peer.reset()
    with pytest.raises(ConnectionResetError):
        while client.sock.recv(4096):
            pass
    result, _ = said(server)[0]
    assert result["status"] == 200 and result["reason"]


def test_on_response_may_connect_and_look_names_up(handling, upstream, behind, quick_engine):
    server = handling("""
        say(req:forward("app", { on_response = function()
          local conn = assert(zerg.connect(%r))
          conn:close()
          return { ["X-Found"] = assert(zerg.resolve("127.0.0.1"))[1] }
        end }))
    """.replace("%r", repr(upstream.target)), upstream.target)
    client = server.connect().send(get("/"))
    peer, _ = upstream.accept_request()
    peer.send(answered())
    upstream.accept()
    got = answer(client)
    assert (got.status, got.body) == (200, b"ok") and got["X-Found"]
    assert said(server)[0][0]["status"] == 200
