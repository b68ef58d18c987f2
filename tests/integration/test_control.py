"""The control socket of a server: its file, who it answers, and the commands `status`, `stop` and `help`."""

import json
import os
import pwd
import re
import signal
import stat
import subprocess

import pytest

from controls import Control
from harness import PROGRAM, environment, free_port
from luatext import ECHO, handler
from peer import PATIENCE, dial, until
from reloads import reload

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# ---- the file ----


def test_the_socket_is_its_owners_alone_and_goes_with_the_server(zerg):
    server = zerg(ECHO).wait_listening()
    mode = server.control.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    server.stop()
    assert not server.control.exists()
    assert list(server.path.glob("*.sock*")) == []


def test_the_configuration_names_the_path_or_none(zerg):
    def start(value):
        text = f'return {{ {value} listeners = {{ {{ address = "127.0.0.1", port = $PORT, handler = print }} }} }}'
        directory = zerg.directory({"zerg.lua": text.replace("$PORT", str(free_port()))})
        with open(directory.path / "log", "wb") as log:
            return directory.path, subprocess.Popen([PROGRAM, "run"], cwd=directory.path, stderr=log, env=environment())

    def end(process):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0

    path, process = start('control = "made/here.sock",')
    until(lambda: (path / "made/here.sock").exists(), "the socket")
    assert stat.S_IMODE((path / "made").stat().st_mode) == 0o700
    end(process)
    path, process = start("control = false,")
    until(lambda: "is ready" in (path / "log").read_text(), "the server")
    assert not [name for name in path.rglob("*") if name.is_socket()]
    end(process)


def test_the_file_of_a_server_that_was_killed_is_replaced(zerg, control):
    first = zerg(ECHO).wait_listening()
    first.kill()
    assert first.control.is_socket()
    second = zerg(ECHO, args=["run", "-c", "zerg.lua", "--control", str(first.control)])
    second.control = first.control
    reply, _ = control(second).ask("status")
    assert reply["pid"] == second.pid


def test_a_path_that_was_asked_for_must_be_free(zerg, control):
    first = zerg(ECHO).wait_listening()
    files = {"zerg.lua": f'return {{ listeners = {{ {{ port = {free_port()}, handler = print }} }} }}'}
    done = zerg.command("run", "--control", first.control, files=files)
    assert done.returncode == 1
    assert f"{first.control}: another server has it (process {first.pid})" in done.stderr
    assert control(first).ask("status")[0]["pid"] == first.pid


def test_what_is_no_socket_is_left_alone(zerg):
    files = {"precious": "x", "zerg.lua": f'return {{ listeners = {{ {{ port = {free_port()}, handler = print }} }} }}'}
    directory = zerg.directory(files)
    done = zerg.command("run", "--control", "precious", directory=directory)
    assert done.returncode == 1 and "a file there that is no socket" in done.stderr
    assert (directory.path / "precious").read_text() == "x"


@ROOT_ONLY
def test_the_second_server_of_a_user_goes_without(zerg, installed):
    """At the default path, which is the same for both: here that of a user who has a runtime directory of their own."""
    nobody = pwd.getpwnam("nobody")
    directory = zerg.directory({"script.lua": handler(ECHO)})
    runtime = directory.path / "runtime"
    runtime.mkdir(0o700)
    os.chown(runtime, nobody.pw_uid, nobody.pw_gid)
    path = runtime / "zerg/control.sock"
    running = []

    def start(name, *args):
        with open(directory.path / name, "wb") as log:
            running.append(subprocess.Popen(
                [installed, "script.lua", "-p", str(free_port()), "--reactors", "1", *args], cwd=directory.path, stderr=log,
                env=environment({"XDG_RUNTIME_DIR": str(runtime)}), user=nobody.pw_uid, group=nobody.pw_gid,
                extra_groups=[]))
        until(lambda: "is ready" in (directory.path / name).read_text(), f"server {name}")

    start("first")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_uid == nobody.pw_uid
    start("second")
    assert re.search(rf"warn  control socket {path}: another server has it \(process {running[0].pid}\): this server runs "
                     "without one", (directory.path / "second").read_text())
    running[1].send_signal(signal.SIGTERM)
    assert running[1].wait(PATIENCE) == 0
    first = Control(path)  # root may, too
    assert first.ask("status")[0]["pid"] == running[0].pid
    assert first.ask("stop")[0] == {"ok": True}
    first.close()
    assert running[0].wait(PATIENCE) == 0
    assert not path.exists()


@ROOT_ONLY
def test_a_server_that_becomes_another_user_gives_it_the_socket(zerg, control):
    directory = zerg.directory().path / "mine"
    server = zerg(ECHO, user="nobody", args=["run", "-c", "zerg.lua", "--control", str(directory / "s")])
    server.control = directory / "s"
    client = control(server)
    for path in (directory, server.control):
        assert path.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert client.ask("status")[0]["pid"] == server.pid
    server.stop()
    assert not server.control.exists()


# ---- the protocol ----


def test_status_counts_connections(zerg, control):
    server = zerg(ECHO, reactors=2, listeners=[{"address": "127.0.0.1", "name": "one"}, {"path": "two.sock"}])
    client = control(server)
    server.wait_listening()
    peers = [server.connect(0).ask("x"), server.connect(0).ask("x"), server.connect(1).ask("x")]
    status, progress = client.ask("status")
    assert progress == []
    assert status["ok"] is True and status["pid"] == server.pid and status["state"] == "running"
    assert status["config_path"] == os.path.realpath(server.path / "zerg.lua")
    assert status["config"] == "zerg.lua" and 0 <= status["uptime"] < 60
    assert re.fullmatch(r"\d+\.\d+\.\d+", status["version"])
    assert [reactor["index"] for reactor in status["reactors"]] == [0, 1]
    assert sum(reactor["connections"] for reactor in status["reactors"]) == 3
    one, two = status["listeners"]
    assert one == {"name": "one", "address": f"127.0.0.1:{server.targets[0][1]}", "state": "listening",
                   "connections": 2}
    assert two["address"] == f"unix:{server.targets[1]}" and two["connections"] == 1
    for peer in peers:
        peer.close()
    until(lambda: client.ask("status")[0]["listeners"][0]["connections"] == 0, "connections that are gone")


def test_status_has_listeners_that_a_reload_removed_as_long_as_they_have_connections(zerg, control):
    server = zerg(ECHO, drain_timeout=60, listeners=[{"address": "127.0.0.1", "name": "before"}]).wait_listening()
    client = control(server)
    place = "127.0.0.1:%d" % server.port
    peer = server.connect().ask("x")

    def listeners():
        return [tuple(row.values()) for row in client.ask("status")[0]["listeners"]]

    server.configure(listeners=[{**server.rows[0], "name": "renamed"}])
    reload(server)
    assert listeners() == [("renamed", place, "listening", 1)]
    server.configure(listeners=[{"address": "127.0.0.1", "name": "after"}])
    reload(server)
    after = "127.0.0.1:%d" % server.port
    other = server.connect().ask("x")
    assert listeners() == [("after", after, "listening", 1), ("before", place, "draining", 1)]
    peer.close()
    until(lambda: len(listeners()) == 1, "the listener that was removed has gone")
    client.send("stop\n")
    until(lambda: listeners_of_another(server) == ["draining"], "all drain")
    other.close()


def listeners_of_another(server):
    """States of the listeners, asked by a client of its own: the other one waits."""
    done = subprocess.run([PROGRAM, "status", "--json", "--control", server.control], capture_output=True, check=False,
                          env=environment())
    return [row["state"] for row in json.loads(done.stdout)["listeners"]]


def test_status_names_the_script_where_there_is_no_configuration(zerg, control):
    assert control(zerg.script(handler(ECHO))).ask("status")[0]["config"] == "script.lua"
    port = free_port()
    proxy = zerg.proxy(f":{port}", "127.0.0.1:1", port=port).wait_listening()
    status = control(proxy).ask("status")[0]
    assert status["config"] is None and status["config_path"] is None


def test_help_lists_the_commands_and_mistakes_bring_the_nearest(zerg, control):
    client = control(zerg(ECHO))
    commands = client.ask("help")[0]["commands"]
    assert {"help", "status", "stop [now]"} <= set(commands)
    assert client.ask("statsu")[0] == {"ok": False, "error": "unknown command `statsu`: did you mean `status`?"}
    assert client.ask("stop later")[0] == {"ok": False, "error": "usage: stop [now]"}
    assert client.ask("status all")[0] == {"ok": False, "error": "usage: status"}


def test_garbage_is_answered_and_does_no_harm(zerg, control):
    server = zerg(ECHO)
    client = control(server)
    for request in (b"\0\0\0", b"\xff\xfe", b"GET / HTTP/1.1", b"", b'"', b'"status', b"a " * 100):
        client.peer.send(request + b"\n")
        assert client.reply()["ok"] is False
    client.peer.send_in_background(b"x" * 1_000_000).join(PATIENCE)
    assert "too long" in client.reply()["error"]
    assert client.ended()
    half = control(server)
    half.send("sta").peer.half_close()
    assert "newline" in half.reply()["error"]
    gone = control(server)
    gone.send("status\nstatus\nsta").close()
    assert control(server).ask("status")[0]["ok"]


def test_pieces_and_several_at_once_are_answered_in_order(zerg, control):
    client = control(zerg(ECHO))
    for byte in "help\nstatus\nhel":
        client.send(byte)
    client.send("p\nhelp\n")
    keys = ["commands" if "commands" in client.reply() else "other" for _ in range(4)]
    assert keys == ["commands", "other", "commands", "commands"]


def test_a_client_that_does_not_read_keeps_nobody_waiting(zerg, control):
    server = zerg(ECHO)
    lazy = control(server)
    lazy.peer.send_in_background(b"status\n" * 200_000)
    other = control(server)
    for _ in range(10):
        assert other.ask("status")[0]["ok"]
    assert server.connect().ask("x")
    assert server.resident_bytes() < 1 << 28
    for _ in range(1000):  # and what it asked for is there when it does read
        assert lazy.reply()["ok"]


def test_so_many_clients_and_no_more(zerg, control):
    server = zerg(ECHO)
    clients = [control(server) for _ in range(32)]
    assert all(client.ask("status")[0]["ok"] for client in clients)
    assert clients[0].ask("help")[0]["ok"]
    assert control(server).ask("help")[0]["ok"]
    assert clients[1].reply()["error"].endswith("this one, which has been idle longest, makes room")
    assert clients[1].ended()
    assert all(client.ask("status")[0]["ok"] for client in clients[:1] + clients[2:])


def test_silent_clients_do_not_lock_the_operator_out(zerg, control):
    server = zerg(ECHO)
    silent = [control(server).send("half a li") for _ in range(32)]
    done = zerg.command("stop", "--control", str(server.control))
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr
    assert "makes room" in silent[0].reply()["error"] and silent[0].ended()
    assert server.wait_exit() == 0


def test_who_is_refused_as_all_are_busy_learns_why(zerg, control):
    server = zerg(ECHO, drain_timeout=30)
    peer = server.connect().ask("x")
    busy = [control(server).send("stop\n") for _ in range(32)]
    assert all("progress" in client.reply() for client in busy)
    extra = control(server)
    assert extra.reply() == {"ok": False, "error": "too many clients of the control socket"}
    assert extra.ended()
    for _ in range(10):
        done = zerg.command("stop", "--control", str(server.control))
        assert done.returncode == 1 and done.stderr == "zerg: too many clients of the control socket\n"
    peer.close()
    assert server.wait_exit() == 0


# ---- stop ----


def test_stop_waits_for_connections_and_answers_at_the_end(zerg, control):
    server = zerg(ECHO, drain_timeout=30)
    client = control(server)
    first, second = server.connect().ask("x"), server.connect().ask("x")
    client.send("stop\n")
    assert client.reply() == {"progress": "2 connections left"}
    other = control(server)
    assert other.ask("status")[0]["state"] == "draining"
    first.close()
    assert client.reply() == {"progress": "1 connection left"}
    second.ask("still here").close()
    replies = [client.reply()]
    while "ok" not in replies[-1]:
        replies.append(client.reply())
    assert replies[-1] == {"ok": True}
    with pytest.raises(OSError):
        dial(server.targets[0])
    assert not server.control.exists()
    assert "zerg has stopped" in server.log.text()
    assert server.wait_exit() == 0


def test_stop_now_cuts_connections(zerg, control):
    server = zerg(ECHO, drain_timeout=30)
    client = control(server)
    peer = server.connect().ask("x")
    answer, progress = client.ask("stop now")
    assert answer == {"ok": True} and progress == ["1 connection left"]
    assert server.wait_exit() == 0
    server.log.wait("stop now: 1 connection is cut")
    peer.close()


def test_stop_now_overtakes_a_stop_and_both_are_answered(zerg, control):
    server = zerg(ECHO, drain_timeout=30)
    patient, hasty = control(server), control(server)
    server.connect().ask("x")
    patient.send("stop\n")
    assert patient.reply() == {"progress": "1 connection left"}
    assert hasty.ask("stop now")[0] == {"ok": True}
    assert patient.reply() == {"ok": True}
    assert server.wait_exit() == 0


def test_a_stop_goes_on_without_who_asked_for_it(zerg, control):
    server = zerg(ECHO, drain_timeout=30)
    server.connect().ask("x")
    control(server).send("stop\n").close()
    server.log.wait("stop: no more connections are accepted, 1 may finish")
    server.close_peers()
    assert server.wait_exit() == 0


def test_so_many_may_wait_for_the_end_and_no_more(zerg, control):
    server = zerg(ECHO, drain_timeout=30)
    client = control(server)
    server.connect().ask("x")
    for _ in range(64):
        with dial(str(server.control)) as one:
            one.ask("stop\n", '{"progress":"1 connection left"}\n')
    answer, _ = client.ask("stop")
    assert answer == {"ok": False, "error": "the server ends, but 64 others wait for that already"}
    assert client.ask("status")[0]["state"] == "draining"
    server.close_peers()
    assert server.wait_exit() == 0


def test_nothing_is_run_behind_a_stop(zerg, control):
    server = zerg(ECHO)
    client = control(server)
    client.send("stop\nstatus\n")
    replies = [client.reply(), client.reply(), client.reply()]
    assert replies[1:] == [{"ok": True}, {"ok": False, "error": "the server has ended"}]
    assert server.wait_exit() == 0


def test_a_stop_that_a_handler_holds_up_fails(zerg, control):
    server = zerg("while true do end", script_stall="100ms")
    client = control(server)
    server.connect()
    server.log.expect("is held by a handler")
    answer, _ = client.ask("stop now")
    assert answer["ok"] is False and "a reactor that a handler holds did not stop" in answer["error"]
    assert server.wait_exit() == 1
    server.log.expect("did not stop")
    server.check_at_end = False
