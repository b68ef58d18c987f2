"""`servers` and `server` of the control socket: what operators see of upstreams, and what they say holds for real traffic."""

from collections import Counter

import pytest

from peer import until
from talkers import Refusing, Talker, several, who
from test_names import At


def servers(client):
    reply, _ = client.ask("servers")
    assert reply["ok"] is True, reply
    return reply["servers"]


def row_of(client, name):
    (row,) = [row for row in servers(client) if row["server"] == name]
    return row


@pytest.fixture
def two(forward_to, behind, control):
    """A server before a and b, a client of its control socket, and their names there."""

    def start(**options):
        a, b = behind(Talker, "a"), behind(Talker, "b")
        server = forward_to(a.target, b.target, **options)
        return server, control(server), a.target, b.target

    return start


def test_servers_lists_them_with_what_they_had(two):
    server, client, a, b = two()
    assert several(server, 4) == {"a": 2, "b": 2}
    until(lambda: all(row["connections"] == 0 for row in servers(client)), "connections that have ended")
    first, second = servers(client)
    assert first == {"upstream": "app", "server": a, "state": "up", "weight": 1, "connections": 0, "total": 2, "fails": 0,
                     "backup": False, "admin": "auto"}
    assert second == {**first, "server": b}
    assert client.ask("servers app")[0] == {"ok": False, "error": "usage: servers"}


def test_there_may_be_none(zerg, control):
    assert servers(control(zerg("conn:close()"))) == []


def test_a_backup_and_failures_are_shown(forward_to, behind, control):
    gone = behind(Refusing)
    a = behind(Talker, "a")
    server = forward_to(gone.target, {"address": a.target, "backup": True}, max_fails=1, fail_timeout="1h")
    client = control(server)
    assert who(server) == "a"
    assert row_of(client, gone.target)["state"] == "ejected"
    assert row_of(client, gone.target)["fails"] == 1
    assert row_of(client, a.target)["backup"] is True


@pytest.mark.threads
@pytest.mark.parametrize("word, state", [("down", "down"), ("drain", "draining")])
def test_down_and_drain_take_a_server_out_and_auto_brings_it_back(two, word, state):
    server, client, a, b = two(reactors=2)
    assert client.ask(f"server app {a} {word}")[0] == {"ok": True}
    assert several(server, 6) == {"b": 6}
    assert row_of(client, a)["state"] == state and row_of(client, a)["admin"] == word
    assert client.ask(f"server app {a} auto")[0] == {"ok": True}
    assert several(server, 6) == {"a": 3, "b": 3}
    assert row_of(client, a)["state"] == "up" and row_of(client, a)["admin"] == "auto"
    server.log.wait(f"upstream app: server {a}: {word}, as its operator says")


def test_what_is_under_way_goes_on(two):
    server, client, a, _ = two()
    peers = server.connect_many(2)
    assert sorted(peer.line() for peer in peers) == ["a", "b"]
    assert client.ask(f"server app {a} down")[0]["ok"]
    assert row_of(client, a)["connections"] == 1
    for peer in peers:
        peer.ask("x")


def test_up_is_used_whatever_fails(forward_to, behind, control):
    """The one that is ejected for an hour is tried as if it were well."""
    gone = behind(Refusing)
    a = behind(Talker, "a")
    server = forward_to(gone.target, a.target, max_fails=1, fail_timeout="1h")
    client = control(server)
    until(lambda: who(server) and row_of(client, gone.target)["state"] == "ejected", "a server that is left out")
    fails = row_of(client, gone.target)["fails"]
    assert several(server, 4) == {"a": 4}
    assert row_of(client, gone.target)["fails"] == fails
    assert client.ask(f"server app {gone.target} up")[0]["ok"]
    assert several(server, 4) == {"a": 4}
    assert row_of(client, gone.target)["fails"] > fails
    assert row_of(client, gone.target)["state"] == "up"


def test_all_down_refuses_and_one_up_serves(two):
    server, client, a, b = two()
    for name in (a, b):
        assert client.ask(f"server app {name} down")[0]["ok"]
    assert several(server, 2) == {None: 2}
    assert client.ask(f"server app {b} up")[0]["ok"]
    assert several(server, 2) == {"b": 2}


def test_weights_share_out_and_auto_is_as_configured(two):
    server, client, a, _ = two()
    assert client.ask(f"server app {a} weight 3")[0] == {"ok": True}
    assert row_of(client, a)["weight"] == 3
    assert several(server, 8) == {"a": 6, "b": 2}
    assert client.ask(f"server app {a} auto")[0]["ok"]
    assert row_of(client, a)["weight"] == 1
    assert several(server, 8) == {"a": 4, "b": 4}


def test_a_word_and_a_weight_survive_a_reload(two):
    server, client, a, b = two()
    assert client.ask(f"server app {a} down")[0]["ok"]
    assert client.ask(f"server app {b} weight 7")[0]["ok"]
    assert client.ask("reload")[0] == {"ok": True, "version": 2}
    assert several(server, 4) == {"b": 4}
    assert row_of(client, a)["admin"] == "down" and row_of(client, b)["weight"] == 7


def test_what_is_wrong_is_said(two):
    _, client, a, _ = two()

    def error(words):
        reply, _ = client.ask(words)
        assert reply["ok"] is False, words
        return reply["error"]

    usage = error("server")
    assert usage.startswith("usage: server UPSTREAM SERVER")
    for words in ("server app", f"server app {a}", f"server app {a} sideways", f"server app {a} weight",
                  f"server app {a} weight 1 2", f"server app {a} down now"):
        assert error(words) == usage, words
    for weight in ("0", "65536", "-1", "x", "1.5", '""', "99999999999999999999"):
        assert error(f"server app {a} weight {weight}").startswith("expected a weight from 1 to 65535, got "), weight
    assert error(f"server ap {a} down") == "there is no upstream ap"
    assert error("server app 127.0.0.1:1 down") == "upstream app has no server 127.0.0.1:1: `servers` lists them"
    assert row_of(client, a)["admin"] == "auto" and row_of(client, a)["weight"] == 1


def test_an_upstream_whose_names_are_not_known_has_a_row(zerg, control):
    client = control(zerg("conn:close()", upstreams={"app": {"servers": ["somewhere.invalid:80"]}}))
    assert servers(client) == [{"upstream": "app", "state": "unknown"}]
    assert client.ask("server app somewhere.invalid:80 down")[0]["ok"] is False


def test_a_name_of_several_servers(zerg, control, dns, behind):
    """Each address is a row, and goes by what `servers` shows."""
    a = behind(At, "a", "127.0.0.1")
    behind(At, "b", "127.0.0.2", a.address[1])
    dns.host("db.test", "127.0.0.1", "127.0.0.2")
    server = zerg(listeners=[{"address": "127.0.0.1", "name": "front", "forward": "app"}],
                  upstreams={"app": {"servers": [f"db.test:{a.address[1]}"]}}, resolver={"servers": dns.servers})
    server.wait_listening()
    client = control(server)
    assert several(server, 4) == {"a": 2, "b": 2}
    names = [row["server"] for row in servers(client)]
    assert len(names) == 2 and len(set(names)) == 2, names
    first = next(name for name in names if "127.0.0.1" in name)
    assert client.ask(f'server app "{first}" down')[0]["ok"]
    assert several(server, 4) == {"b": 4}
    assert Counter(row["state"] for row in servers(client)) == {"up": 1, "down": 1}


def test_the_command_line_does_it(two, zerg):
    server, client, a, _ = two()
    done = zerg.command("servers", "app", a, "weight", 5, "--control", server.control)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"app {a} weight 5\n", "")
    assert row_of(client, a)["weight"] == 5
    done = zerg.command("servers", "app", "nobody", "down", "--control", server.control)
    assert done.returncode == 1 and "has no server nobody" in done.stderr
