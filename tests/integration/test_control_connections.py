"""`connections` and `close` of the control socket, against real connections of every kind."""

import re

import pytest

from httpserver import Upstream
from luatext import ECHO, FIRST_BODY_LINE
from peer import Backend, dial, until
from reloads import reload


def rows(client):
    reply, progress = client.ask("connections")
    assert reply["ok"] is True and progress == [], reply
    return reply["connections"]


def only(client, **fields):
    """The row that has these fields, once there is exactly one."""
    def find():
        found = [row for row in rows(client) if all(row[key] == value for key, value in fields.items())]
        return found[0] if len(found) == 1 else None
    return until(find, f"a row with {fields}")


def waits(client, text, **fields):
    """Waits until the row with these fields waits for that (a regular expression for all of it)."""
    return until(lambda: re.fullmatch(text, only(client, **fields)["waits"]),
                 text)


# ---- connections ----


def test_a_row_says_who_it_is_and_how_much_it_had(zerg, control):
    server = zerg(ECHO, listeners=[{"address": "127.0.0.1", "name": "echo"}]).wait_listening()
    client = control(server)
    assert rows(client) == []
    peer = server.connect().ask("12345")
    row = only(client, bytes_out=5)  # which are counted when the kernel has said so
    assert row["peer"] == "{}:{}".format(*peer.name)
    assert (row["listener"], row["version"], row["reactor"], row["state"]) == ("echo", 1, 0, "open")
    assert row["bytes_in"] == 5
    assert row["id"] == 1 and 0 <= row["age"] < 60
    assert row["waits"] == f"read at handler.lua:{FIRST_BODY_LINE}"
    assert client.ask("connections all")[0] == {"ok": False, "error": "usage: connections"}
    peer.close()
    until(lambda: rows(client) == [], "a connection that has gone")


WAITS = """
local kind = conn:reader():read_line()
if tostring(kind) == "write" then
  conn:write(string.rep("x", 50000000))
elseif tostring(kind) == "sleep" then
  zerg.sleep(100)
elseif tostring(kind) == "task" then
  zerg.spawn(function() zerg.sleep(100) end):join()
end
conn:reader():read_line()
"""


@pytest.mark.parametrize("kind, what, line", [
    ("write", "write", 3), ("sleep", "sleep", 5), ("task", "task:join", 7), ("read", "read", 9)])
def test_what_a_handler_waits_for_and_where(zerg, control, kind, what, line):
    server = zerg(WAITS, drain_timeout=0.1, script_stall="1m")
    client = control(server)
    server.wait_listening()
    peer = server.connect().send(kind + "\n")
    waits(client, f"{what} at handler\\.lua:{FIRST_BODY_LINE + line - 1}")
    peer.close()


def test_the_script_s_own_line_is_named_and_not_a_module_of_zerg(zerg, control):
    """Also where a module of the script's own reads."""
    server = zerg("require('deep.reading')(conn)", files={"deep/reading.lua": """
        return function(conn)
          local line = conn:reader():read_line()
          return line
        end
    """})
    client = control(server)
    server.wait_listening().connect()
    waits(client, r"read at \./deep/reading\.lua:3|read at deep/reading\.lua:3")


def test_relays_and_connections_to_servers(forward_to, control, behind):
    backend = behind(Backend)
    server = forward_to(backend.target)
    client = control(server)
    server.connect()
    inner = backend.accept()
    waits(client, re.escape(f"both sides, relayed to {backend.target}"), listener="front")
    row = only(client, listener="")
    assert row["peer"] == backend.target and row["version"] == 0 and row["waits"].startswith("both sides, relayed")
    inner.close()


def test_a_connection_that_a_script_made_has_its_version(zerg, control, behind):
    backend = behind(Backend)
    server = zerg("""
        local server = assert(zerg.connect("127.0.0.1:%d"))
        server:read()
    """ % backend.port)
    client = control(server)
    server.wait_listening()
    reload(server)
    server.connect()
    inner = backend.accept()
    until(lambda: only(client, listener="")["version"] == 2, "the script has it")
    assert only(client, listener="")["peer"] == backend.target
    inner.close()


def test_a_relay_that_has_no_server_yet(forward_to, control, behind):
    backend = behind(Backend)
    server = forward_to(backend.target, max_connections=1, queue_timeout="1m")
    client = control(server)
    server.connect()
    backend.accept()
    second = server.connect()
    waits(client, "a server of app", peer="{}:{}".format(*second.name))


SLOW_HTTP = """
local zerg = require "zerg"
return function(req)
  zerg.sleep(100)
end
"""


def slow_http(zerg):
    """Answers nothing, for a long time."""
    return zerg(files={"web.lua": SLOW_HTTP.lstrip()}, drain_timeout=0.1,
                listeners=[{"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"}]).wait_listening()


def test_http_idle_halfway_and_in_a_script(zerg, control):
    server = slow_http(zerg)
    client = control(server)
    peer = server.connect()
    waits(client, "a request")
    peer.send("GET /there?x=1 HTT")
    waits(client, "the rest of a head")
    peer.send("P/1.1\r\nHost: x\r\n\r\n")
    waits(client, r"sleep at web\.lua:3, /there\?x=1")


def test_http_that_is_forwarded_and_what_is_kept(proxy, control, behind):
    upstream = behind(Upstream)
    server = proxy(upstream.target)
    client = control(server)
    peer = server.connect().send("GET /a/b HTTP/1.1\r\nHost: x\r\n\r\n")
    inner = upstream.accept()
    inner.head()
    waits(client, "a server's answer, /a/b", listener="front")
    assert only(client, listener="")["waits"] == "an answer"
    inner.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    peer.line()
    waits(client, "a request", listener="front")
    waits(client, "its next use", listener="")


def test_connections_that_a_script_made(zerg, control, behind):
    backend = behind(Backend)
    server = zerg(f"""
        local there = assert(zerg.connect("{backend.target}"))
        conn:write("x")
        conn:reader():read_line()
        there:reader():read_line()
    """)
    client = control(server)
    server.wait_listening()
    peer = server.connect().expect("x")
    waits(client, "the script that made it", listener="")
    peer.send("\n")
    waits(client, f"read at handler\\.lua:{FIRST_BODY_LINE + 3}", listener="")


def test_unix_peers_and_names_of_listeners_that_are_odd(zerg, control):
    name = 'a "b" \\ \x01 ü'
    server = zerg(ECHO, listeners=[{"path": "s", "name": name}])
    client = control(server)
    server.wait_listening().connect().ask("x")
    row = only(client)
    assert row["listener"] == name and row["peer"] == "unix"


def test_ipv6_peers(zerg, control):
    server = zerg(ECHO, listeners=[{"address": "::1"}])
    client = control(server)
    peer = server.wait_listening().connect().ask("x")
    assert only(client)["peer"] == "[{}]:{}".format(*peer.name[:2])


@pytest.mark.threads
def test_thousands_in_several_reactors_are_all_there(zerg, control):
    """Each once, in many batches, while others come and go."""
    server = zerg(ECHO, reactors=2).wait_listening()
    client = control(server)
    peers = [dial(server.targets[0]) for _ in range(1500)]
    for peer in peers:
        peer.ask("x")
    names = {"{}:{}".format(*peer.name) for peer in peers}
    for _ in range(3):
        client.send("connections\n")
        for _ in range(20):
            dial(server.targets[0]).close()
        found = client.reply()["connections"]
        assert names <= {row["peer"] for row in found}
        assert len({row["id"] for row in found}) == len(found)
    assert {row["reactor"] for row in found} == {0, 1}
    for peer in peers:
        peer.close()
    until(lambda: rows(client) == [], "an empty list")


# ---- close ----


def test_close_ends_a_handler_after_what_is_staged(zerg, control):
    server = zerg("""
        conn:write("staged")
        local data, reason = conn:read()
        zerg.log.info("read gave " .. tostring(reason))
    """)
    client = control(server)
    peer = server.wait_listening().connect().expect("staged")
    assert client.ask(f"close {only(client)['id']}")[0] == {"ok": True}
    peer.expect_end()
    server.log.wait("read gave shutdown")


def test_close_ends_one_of_many_and_no_other(zerg, control):
    server = zerg(ECHO, reactors=2).wait_listening()
    client = control(server)
    peers = [server.connect().ask("x") for _ in range(20)]
    middle = peers[11]
    row = only(client, peer="{}:{}".format(*middle.name))
    assert client.ask(f"close {row['id']}")[0]["ok"]
    middle.expect_end()
    for peer in peers:
        if peer is not middle:
            peer.ask("y")
    again = client.ask(f"close {row['id']}")[0]
    middle.close()
    assert again["ok"] or "there is no connection" in again["error"]
    until(lambda: client.ask(f"close {row['id']}")[0] ==
          {"ok": False, "error": f"there is no connection {row['id']} (any more)"}, "an id that has ended")


def test_close_ends_both_sides_of_a_relay(forward_to, control, behind):
    backend = behind(Backend)
    server = forward_to(backend.target)
    client = control(server)
    for side in ("front", ""):
        peer = server.connect()
        inner = backend.accept()
        row = only(client, listener=side)
        assert client.ask(f"close {row['id']}")[0] == {"ok": True}
        for end in (peer, inner):
            try:
                assert end.rest() == b""
            except ConnectionResetError:
                pass
            end.close()
        until(lambda: rows(client) == [], "an empty list")


@pytest.mark.parametrize("sent", ["", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_close_of_http_idle_and_with_a_request_running(zerg, control, sent):
    server = slow_http(zerg)
    client = control(server)
    peer = server.connect().send(sent)
    assert client.ask(f"close {only(client, bytes_in=len(sent))['id']}")[0] == {"ok": True}
    assert peer.rest() == b""
    if sent.endswith("\r\n"):  # its handler does not know yet, and keeps the place
        waits(client, r"sleep at web\.lua:3, /", state="dead")
    else:
        until(lambda: rows(client) == [], "an empty list")


def test_close_of_a_kept_connection_and_of_one_with_a_request(proxy, control, behind):
    upstream = behind(Upstream)
    server = proxy(upstream.target, retries=0)
    server.log.allow("upstream app")
    client = control(server)
    peer = server.connect().send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    inner = upstream.accept()
    inner.head()
    inner.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert peer.line() == "HTTP/1.1 200 OK\r"
    while peer.line() != "\r":
        pass
    waits(client, "its next use", listener="")
    assert client.ask(f"close {only(client, listener='')['id']}")[0] == {"ok": True}
    assert inner.rest() == b""
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    upstream.accept().head()
    assert client.ask(f"close {only(client, listener='')['id']}")[0] == {"ok": True}
    assert peer.line().startswith("HTTP/1.1 503")


def test_close_wants_a_number_that_a_connection_has(zerg, control):
    client = control(zerg(ECHO, reactors=2))
    for words in ("close", "close 1 2", "close x", "close 0", "close -1", "close 1x", 'close ""', 'close " 1"',
                  "close 99999999999999999999999"):
        assert client.ask(words)[0] == {"ok": False, "error": "usage: close ID"}, words
    for number in (1000, 1001, 2**64 - 1):
        assert client.ask(f"close {number}")[0] == {"ok": False,
                                                    "error": f"there is no connection {number} (any more)"}
