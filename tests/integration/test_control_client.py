"""The commands that talk to a running server: with the real one, and with one that answers what the test wants."""

import json
import os
import re
import signal
import socket
import subprocess

import pytest

from controls import lines
from harness import PROGRAM, environment, free_port
from luatext import ECHO
from peer import PATIENCE, until

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def ask(zerg, server, *args):
    server.log.wait("is ready")
    return zerg.command(*args, "--control", server.control)


# ---- the real server ----


def test_status_is_shown_as_tables(zerg):
    server = zerg(ECHO, reactors=2, listeners=[{"address": "127.0.0.1", "name": "one"}]).wait_listening()
    server.connect().ask("x")
    done = ask(zerg, server, "status")
    assert done.returncode == 0 and done.stderr == ""
    versions, current, empty, header, *rest = done.stdout.splitlines()[2:]
    assert versions.split() == ["VERSION", "STATE", "AGE", "CONNECTIONS", "MEMORY"]
    assert current.split()[:2] == ["1", "current"] and current.split()[3] == "1"
    first = done.stdout.splitlines()[0]
    assert re.fullmatch(rf"zerg \d+\.\d+\.\d+ is running: process {server.pid}, up \d+\.\ds, serves zerg\.lua", first)
    assert empty == "" and header.split()[:2] == ["REACTOR", "CONNECTIONS"]
    assert sorted(line.split()[1] for line in rest[:2]) == ["0", "1"]
    assert rest[-1].split() == ["one", f"127.0.0.1:{server.port}", "listening", "1"]
    assert len(header) == len(rest[0])
    assert "\033" not in done.stdout


def test_status_as_json_is_the_reply_as_it_came(zerg):
    server = zerg(ECHO)
    done = ask(zerg, server, "status", "--json")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    reply = json.loads(done.stdout)
    assert reply["ok"] is True and reply["pid"] == server.pid
    assert done.stdout.startswith('{"ok":true,"version":')


def test_stop_waits_and_says_how_many_are_left(zerg):
    server = zerg(ECHO, drain_timeout=30).wait_listening()
    peer = server.connect().ask("x")
    with subprocess.Popen([PROGRAM, "stop", "--control", server.control], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=environment()) as stop:
        assert stop.stderr.readline() == "1 connection left\n"
        assert stop.poll() is None
        peer.close()
        assert stop.wait(PATIENCE) == 0
        assert stop.stdout.read() == "stopped\n"
    assert server.wait_exit() == 0


def test_stop_now_does_not_wait(zerg):
    server = zerg(ECHO, drain_timeout=30).wait_listening()
    server.connect().ask("x")
    done = ask(zerg, server, "stop", "--now")
    assert done.returncode == 0 and done.stdout == "stopped\n" and done.stderr == "1 connection left\n"
    assert server.wait_exit() == 0


def test_what_the_server_refuses_is_said_and_the_status_is_1(zerg):
    server = zerg(ECHO)
    server.log.wait("is ready")
    done = zerg.command("close", "123456", "--control", server.control)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("zerg: ")


# ---- which server ----


def test_the_configuration_says_where(zerg):
    text = ('return { control = "run/c.sock", listeners = { { address = "127.0.0.1", port = %s, handler = print } } }'
            % free_port())
    directory = zerg.directory({"zerg.lua": text})
    with subprocess.Popen([PROGRAM, "run", "--reactors", "1"], cwd=directory.path, stderr=subprocess.DEVNULL,
                          env=environment()) as process:
        until((directory.path / "run/c.sock").exists, "the socket")
        for args in (["status"], ["status", "-c", "zerg.lua"], ["status", "-c", directory.path / "zerg.lua"]):
            done = zerg.command(*args, "--json", directory=directory)
            assert done.returncode == 0 and json.loads(done.stdout)["pid"] == process.pid, done.stderr
        # Whatever else is wrong in it by now.
        directory.write("zerg.lua", text.replace("print", '"absent.lua"').replace("port", "prot"))
        assert zerg.command("status", directory=directory).returncode == 0
        directory.write("zerg.lua", "return {")
        done = zerg.command("status", directory=directory)
        assert done.returncode == 1
        assert "zerg.lua:1: " in done.stderr and "name the control socket with --control PATH" in done.stderr
        done = zerg.command("stop", "--control", "run/c.sock", directory=directory)
        assert done.returncode == 0
        assert process.wait(PATIENCE) == 0


def at_usual_place(zerg):
    """A server at the usual place, and the environment that says where that is."""
    server = zerg(ECHO, args=["run", "-c", "zerg.lua", "--control", "run/control.sock"]).wait_listening()
    return server, {"RUNTIME_DIRECTORY": str(server.path / "run")}


@pytest.mark.parametrize("text", ["return {", "return { control = 7 }", None])
def test_a_configuration_that_cannot_be_loaded_does_not_hide_its_server(zerg, text):
    server, env = at_usual_place(zerg)
    config = server.path / "zerg.lua"
    config.unlink() if text is None else config.write_text(text)
    elsewhere = zerg.directory()
    (elsewhere.path / "link.lua").symlink_to(config)
    for name, directory in (("zerg.lua", server.directory), (config, elsewhere), ("link.lua", elsewhere)):
        if text is None and name == "link.lua":
            continue  # it leads nowhere
        done = zerg.command("status", "--json", "-c", name, directory=directory, env=env)
        assert done.returncode == 0 and json.loads(done.stdout)["pid"] == server.pid, done.stderr
        assert (f"zerg: warning: {name} cannot be loaded: asking the server at the usual place, "
                f"{server.path}/run/control.sock, which serves it.\n") in done.stderr
    done = zerg.command("reload", directory=server.directory, env=env)
    assert done.returncode == 1 and "zerg.lua" in done.stderr  # the server's own words for it
    server.log.expect("reload: version 1 goes on")


def test_a_server_at_the_usual_place_that_serves_another_configuration_is_not_asked(zerg):
    server, env = at_usual_place(zerg)
    done = zerg.command("stop", files={"zerg.lua": "return {"}, env=env)
    assert done.returncode == 1 and server.process.poll() is None
    assert "warning" not in done.stderr and "name the control socket with --control PATH" in done.stderr


@pytest.mark.parametrize("value", ['"absent.sock"', "false"])
def test_a_configuration_whose_socket_has_moved_names_the_server_at_the_usual_place(zerg, value):
    server, env = at_usual_place(zerg)
    server.directory.write("zerg.lua", f"return {{ control = {value} }}")
    done = zerg.command("status", directory=server.directory, env=env)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith(
        f"zerg: a server answers at the usual place and serves {os.path.realpath(server.path)}/zerg.lua: "
        f"name it with --control {server.path}/run/control.sock\n")
    done = zerg.command("status", "--control", "absent.sock", directory=server.directory, env=env)
    assert "usual place" not in done.stderr


@ROOT_ONLY
@pytest.mark.parametrize("is_link", [False, True])
def test_root_runs_no_configuration_of_somebody_else_that_nobody_named(zerg, is_link):
    directory = zerg.directory({"zerg.lua": 'io.open("was_run", "w"):close() return { control = "absent.sock" }'})
    path = directory.path / "zerg.lua"
    if is_link:
        path.rename(directory.path / "other.lua")
        path.symlink_to("other.lua")
    os.chown(path, 65534, 65534, follow_symlinks=False)
    for command in ("status", "stop"):
        done = zerg.command(command, directory=directory)
        assert done.returncode == 1 and done.stdout == ""
        assert "./zerg.lua belongs to another user (uid 65534)" in done.stderr and "with -c FILE" in done.stderr
    assert not (directory.path / "was_run").exists()
    done = zerg.command("status", "-c", "zerg.lua", directory=directory)
    assert done.returncode == 1 and "no server answers at" in done.stderr
    assert (directory.path / "was_run").exists()
    os.chown(path, 0, 0, follow_symlinks=False)
    assert "no server answers at" in zerg.command("status", directory=directory).stderr


def test_a_configuration_without_a_control_socket(zerg):
    done = zerg.command("status", files={"zerg.lua": "return { control = false }"})
    assert done.returncode == 1 and "zerg: the server of zerg.lua has no control socket" in done.stderr
    done = zerg.command("status", files={"zerg.lua": "return { control = 7 }"})
    assert done.returncode == 1 and "zerg.lua:1: control: expected the path of a unix socket's file" in done.stderr
    done = zerg.command("status", "-c", "nowhere.lua")
    assert done.returncode == 1 and "nowhere.lua: cannot read the configuration" in done.stderr


@pytest.mark.parametrize("args", [["status"], ["stop"], ["reload"], ["upgrade"], ["connections"], ["close", "1"],
                                  ["servers"], ["servers", "a", "b:1", "up"]])
def test_without_a_server(zerg, args):
    done = zerg.command(*args, "--control", "absent.sock")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("zerg: no server answers at absent.sock: No such file or directory\n")
    assert "--control PATH" in done.stderr


def test_a_server_that_died(zerg):
    server = zerg(ECHO).wait_listening()
    server.kill()
    done = ask(zerg, server, "status")
    assert done.returncode == 1
    assert f"no server answers at {server.control}: Connection refused\nThe server that was there has gone." in done.stderr


@ROOT_ONLY
def test_a_server_of_another_user(zerg):
    server = zerg(ECHO).wait_listening()
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = zerg.command("status", "--control", server.control, wrapper=nobody)
    assert done.returncode == 1 and "Permission denied\nOnly root, and the user whom it runs as" in done.stderr


def listen_as(uid, path):
    """A process of that user that listens at the path."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        assert os.read(ready, 1) == b"."
        os.close(ready)
        return pid
    try:
        os.setuid(uid)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            os.chmod(path, 0o777)
            sock.listen()
            os.write(tell, b".")
            signal.pause()
    finally:
        os._exit(1)


@ROOT_ONLY
def test_somebody_elses_server_is_not_asked(zerg):
    """A path in /tmp may have been taken by somebody else."""
    directory = zerg.directory()
    directory.path.chmod(0o1777)
    pid = listen_as(65533, str(directory.path / "s"))
    try:
        done = zerg.command("status", "--control", directory.path / "s",
                            wrapper=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert done.returncode == 1 and "is another user's (uid 65533): it is not asked" in done.stderr


# ---- requests and replies of all commands ----

CONNECTION = {"id": 17, "peer": "127.0.0.1:5555", "listener": "echo", "version": 1, "reactor": 0, "state": "open",
              "waits": "read at handlers/echo.lua:3", "age": 1.25, "bytes_in": 5, "bytes_out": 5}
SERVER = {"upstream": "app", "server": "127.0.0.1:3000", "state": "up", "weight": 1, "connections": 0, "total": 5,
          "fails": 0, "backup": False, "admin": "auto"}


@pytest.mark.parametrize("args, request_line, reply, said", [
    (["reload"], "reload", {"version": 2}, "version 2 serves now\n"),
    (["stop"], "stop", {}, "stopped\n"),
    (["stop", "--now"], "stop now", {}, "stopped\n"),
    (["upgrade"], "upgrade", {"pid": 123}, "process 123 serves now\n"),
    (["close", "17"], "close 17", {}, "closed 17\n"),
    (["servers", "app", "a:1", "down"], "server app a:1 down", {}, "app a:1 down\n"),
    (["servers", "my app", "a:1", "weight", "5"], 'server "my app" a:1 weight 5', {}, "my app a:1 weight 5\n"),
    (["connections"], "connections", {"connections": [CONNECTION]},
     "ID  PEER            LISTENER  VERSION  REACTOR  STATE   AGE  IN  OUT  WAITS\n"
     "17  127.0.0.1:5555  echo            1        0  open   1.2s   5    5  read at handlers/echo.lua:3\n"),
    (["servers"], "servers", {"servers": [SERVER]},
     "UPSTREAM  SERVER          STATE  ADMIN  WEIGHT  BACKUP  CONNECTIONS  TOTAL  FAILS\n"
     "app       127.0.0.1:3000  up     auto        1  no                0      5      0\n"),
])
def test_requests_and_what_is_said_of_replies(fake_control, args, request_line, reply, said):
    server = fake_control(lines({"ok": True, **reply}))
    done = server.command(*args)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert server.requests == [request_line]


def test_progress_and_errors_of_several_lines_go_to_stderr(fake_control):
    server = fake_control(lines({"progress": "loading"}, {"progress": "checking"},
                        {"ok": False, "error": "zerg.lua:3: no\nhandler.lua:1: neither"}))
    done = server.command("reload")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "loading\nchecking\nzerg: zerg.lua:3: no\nhandler.lua:1: neither\n"


def test_json_is_printed_as_it_came_also_of_a_failure(fake_control):
    odd = b'{"ok":  true, "connections":[ ] }\n'
    done = fake_control(odd).command("connections", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, odd.decode(), "")
    failed = lines({"ok": False, "error": "no"})
    done = fake_control(failed).command("servers", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (1, failed.decode(), "zerg: no\n")


@pytest.mark.parametrize("answer, words", [
    (b"", "has gone without an answer"), (b'{"ok":tr', "has gone without an answer"),
    (b"HTTP/1.1 400 Bad Request\n", "no server of zerg"), (b"[]\n", "no server of zerg"), (b"{}\n", "no server of zerg"),
    (b'{"ok":1}\n', "no server of zerg"), (b'{"ok":false}\n', "did not say why"),
    (lines({"progress": "almost"}), "has gone without an answer")])
def test_servers_that_do_not_answer_as_they_should(fake_control, answer, words):
    server = fake_control(answer)
    server.hangs_up = True
    done = server.command("status")
    assert done.returncode == 1 and words in done.stderr


def test_a_large_reply_arrives_whole(fake_control):
    rows = [dict(CONNECTION, id=number) for number in range(20_000)]
    done = fake_control(lines({"ok": True, "connections": rows})).command("connections")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 20_001


@pytest.mark.parametrize("args", [["close"], ["close", "x"], ["stop", "now"], ["status", "--now"], ["servers", "a"],
                                  ["servers", "a", "b:1", "off"], ["reload", "--json"], ["status", "extra"]])
def test_misuse_is_2(zerg, args):
    done = zerg.command(*args)
    assert done.returncode == 2 and done.stderr.startswith("zerg: ")
