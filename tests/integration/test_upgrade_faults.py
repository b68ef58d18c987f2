"""Upgrades that come to nothing: the server goes on as if nothing had been, and whoever asked learns why."""

import contextlib
import os
import random
import re
import signal
import socket
import stat
import subprocess

import pytest

from controls import Control
from harness import free_port
from luatext import ECHO_LINES, handler
from peer import dial, until
from successors import Successor
from test_upgrade import PID, PID_TOP, WAYS, serving, upgrade

SILENT = r"the new process, \d+ of /\S+, ended before it was ready: this one goes on"


def failed(said):
    """What an upgrade fails with when the new process said that before it ended."""
    return rf"{SILENT}\. It said: .*{said}.*"


def serves(server, peer):
    """It has what it had, and takes new connections, on every one of its sockets."""
    assert peer.ask_line("still here") == "still here"
    for _ in range(10):
        with dial(server.targets[0]) as other:
            assert other.ask_line("x") == "x"


def fails(server, control, problem):
    """An upgrade by request and one by signal; both say so."""
    reply, _ = control(server).ask("upgrade")
    assert reply["ok"] is False
    assert re.fullmatch(problem, reply["error"]), reply
    server.log.expect("upgrade: " + problem)
    os.kill(server.pid, signal.SIGUSR2)
    server.log.expect("upgrade: " + problem)


BROKEN = {
    "the configuration": ("zerg.lua", "return {", "zerg.lua:1: "),
    "a script": ("handler.lua", "return function(", r"handler.lua:1: .*expected near '<eof>'"),
    "a script as it is loaded": ("handler.lua", "error('at load')", "handler.lua:1: at load"),
    "a start hook": ("handler.lua", "return { serve = print, start = function() error('no') end }", "handler.lua:1: no"),
}


# Not for the thread sanitizer: it does not see that the ring of a reactor that did not start is unmapped, where another one's is
# mapped then.
@pytest.mark.parametrize("way", ["one", "reuseport"])
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_changes_nothing(zerg, family, control, way, what):
    name, text, said = BROKEN[what]
    server = zerg(ECHO_LINES, **WAYS[way]).wait_listening()
    server.log.allow("zerg.lua|handler.lua|did not start|stack traceback|hook")
    server.reactors = None  # those that did not start say how they ended, too
    before = (server.path / name).read_text()
    peer = server.connect()
    assert peer.ask_line("x") == "x"
    server.directory.write(name, text)
    fails(server, control, failed(said))
    serves(server, peer)
    assert Control(server.control).ask("status")[0]["pid"] == server.pid
    server.directory.write(name, before)
    server.close_peers()
    upgrade(server, family)
    assert server.wait_exit() == 0
    with dial(server.targets[0]) as other:
        assert other.ask_line("x") == "x"


def test_a_unix_listener_outlives_a_process_that_did_not_start(zerg, control):
    server = zerg(ECHO_LINES, listeners=[{"path": "s"}]).wait_listening()
    server.log.allow("stack traceback|hook|no\n|error")
    server.reactors = None
    server.directory.write("handler.lua", "return { serve = print, start = function() error('no') end }")
    fails(server, control, failed("handler.lua:1: no"))
    assert stat.S_ISSOCK(os.stat(server.targets[0]).st_mode)
    with dial(server.targets[0]) as peer:
        assert peer.ask_line("x") == "x"


def test_the_options_of_the_sockets_change_when_the_new_process_serves_and_not_before(zerg, family, control):
    server = zerg(ECHO_LINES, listeners=[{"path": "s", "mode": "0660"}]).wait_listening()
    server.log.allow("stack traceback|hook|no\n|error")
    server.reactors = None
    before = (server.path / "handler.lua").read_text()
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace("0660", "0600"))
    server.directory.write("handler.lua", "return { serve = print, start = function() error('no') end }")
    fails(server, control, failed("handler.lua:1: no"))
    assert stat.S_IMODE(os.stat(server.targets[0]).st_mode) == 0o660
    server.directory.write("handler.lua", before)
    upgrade(server, family)
    assert server.wait_exit() == 0
    until(lambda: stat.S_IMODE(os.stat(server.targets[0]).st_mode) == 0o600, "the new mode")


def test_a_port_that_the_new_configuration_wants_and_somebody_has(zerg, control):
    server = zerg(ECHO_LINES).wait_listening()
    server.log.allow("in use")
    server.reactors = None
    other = zerg(ECHO_LINES).wait_listening()
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace("listeners = {", "listeners = {{ address = '127.0.0.1', "
                                                    f"port = {other.port}, handler = 'handler.lua' }},"))
    fails(server, control, failed("Address already in use"))
    serves(server, server.connect())


def with_control_below(zerg, **options):
    """A server whose control socket is in a directory that the test may move."""
    directory = zerg.directory().path
    (directory / "some" / "where").mkdir(parents=True)
    server = zerg(ECHO_LINES, args=["run", "-c", "zerg.lua", "--control", str(directory / "some" / "where" / "s")],
                  **options)
    server.control = directory / "moved" / "where" / "s"
    server.wait_listening().log.wait("is ready")
    os.rename(directory / "some", directory / "moved")
    server.log.allow("control socket")
    server.reactors = None
    return server, directory / "some" / "where"


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_a_control_socket_that_cannot_be_is_found_before_anything_is_accepted(zerg, control, way):
    server, _ = with_control_below(zerg, **WAYS[way])
    peer = server.connect()
    fails(server, control, failed("cannot make its directory"))
    assert len(server.log.find("error control socket .*cannot make its directory")) == 2
    assert len(server.log.find("listening on")) == 1
    serves(server, peer)


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_what_fails_when_it_accepts_already_ends_all_the_same(zerg, control, way):
    """In the last moment somebody takes the path of its control socket, or the directory."""
    server, directory = with_control_below(zerg, **WAYS[way])
    peer = server.connect()
    directory.mkdir(parents=True)
    server.directory.write("handler.lua", "return { serve = function() end, start = function() "
                           f"os.rename('{directory}', '{directory}.' .. os.time()) end }}")
    reply, _ = control(server).ask("upgrade")
    assert reply["ok"] is False and re.fullmatch(failed("control socket"), reply["error"]), reply
    server.log.expect("upgrade: " + failed("control socket"))
    assert server.log.find("the start has failed")
    assert len(server.log.find("listening on")) == 2
    serves(server, peer)


@pytest.mark.parametrize("kind", ["exits", "missing", "not executable", "no program", "cut off", "killed"])
def test_a_program_that_is_none(zerg, control, installed, kind):
    server = zerg(ECHO_LINES).wait_listening()
    peer = server.connect()
    problem = SILENT
    os.rename(installed, installed.with_name("before"))
    if kind == "exits":
        installed.write_text("#!/bin/sh\nexit 1\n")
    elif kind == "killed":
        installed.write_text("#!/bin/sh\nkill -9 $$\n")
    elif kind == "cut off":
        installed.write_bytes(installed.with_name("before").read_bytes()[:100])
    elif kind != "missing":
        installed.write_text("neither a script nor a program")
    if kind != "missing":
        installed.chmod(0o644 if kind == "not executable" else 0o755)
    if kind == "missing":
        problem = f"cannot start {installed}: No such file or directory"
    elif kind == "not executable":
        problem = f"cannot start {installed}: Permission denied"
    elif kind == "no program":
        problem = f"cannot start {installed}: Exec format error"
    elif kind == "cut off":
        problem = f"cannot start {installed}: (Exec format error|Input/output error|Invalid argument)"
    fails(server, control, problem)
    serves(server, peer)
    os.rename(installed.with_name("before"), installed)


# ---- at the wrong time ----

SLOW_START = """
local zerg = require "zerg"
return {
  start = function() zerg.log.info("starting") while not io.open("go") do zerg.sleep(0.01) end end,
  serve = function(conn) conn:write("new\\n") conn:read() end,
}
"""


SLOW_FAILURE = """
local zerg = require "zerg"
return {
  start = function() zerg.log.info("starting") while not io.open("go") do zerg.sleep(0.01) end error("no") end,
  serve = print,
}
"""


def wait_starting(server, way):
    """Until every reactor of the new process has loaded its scripts."""
    until(lambda: len(server.log.find("starting")) == WAYS[way]["reactors"], "all of the new process to start")


def answer(client):
    while "ok" not in (reply := client.reply()):
        pass
    return reply


# As above, not for the thread sanitizer.
@pytest.mark.parametrize("way", WAYS)
def test_a_reload_waits_for_an_upgrade_and_is_done_when_that_fails(zerg, control, way):
    server = zerg(ECHO_LINES, **WAYS[way]).wait_listening()
    server.log.allow("stack traceback|hook|no$")
    server.reactors = None
    server.directory.write("handler.lua", SLOW_FAILURE)
    upgrading = control(server).send("upgrade\n")
    wait_starting(server, way)
    server.directory.write("handler.lua", handler('conn:write("reloaded")'))
    reloading = control(server).send("reload\n")
    assert reloading.reply() == {"progress": "an upgrade is under way: after that"}
    server.send_signal(signal.SIGHUP)
    server.log.wait("HUP: reloading when the upgrade is over")
    assert server.connect().ask_line("still the old one") == "still the old one"
    server.directory.write("go", "")
    assert answer(upgrading)["ok"] is False
    server.log.expect("upgrade: " + failed("no"))
    assert answer(reloading)["ok"] is True
    assert server.connect().rest() == b"reloaded"


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_a_reload_during_an_upgrade_that_succeeds_is_the_new_ones(zerg, family, control, way):
    """A listener that the old process closed by a reload would be closed in the new one, too."""
    server = zerg(ECHO_LINES, listeners=[{"address": "127.0.0.1"}, {"address": "127.0.0.1"}], **WAYS[way]).wait_listening()
    server.directory.write("handler.lua", SLOW_START)
    upgrading = control(server).send("upgrade\n")
    wait_starting(server, way)
    stays, goes = server.targets
    server.configure(listeners=server.rows[:1])
    server.directory.write("handler.lua", handler('conn:write("reloaded")'))
    reloading = control(server).send("reload\n")
    assert reloading.reply() == {"progress": "an upgrade is under way: after that"}
    server.send_signal(signal.SIGHUP)
    server.log.wait("HUP: reloading when the upgrade is over")
    for target in (stays, goes):
        with dial(target) as peer:
            assert peer.ask_line("both are there") == "both are there"
    server.directory.write("go", "")
    assert answer(upgrading)["ok"] is True
    assert answer(reloading) == {"ok": False, "error": "another process serves now: ask that one"}
    family.find(server)
    assert server.wait_exit() == 0
    server.log.wait("version 2 is current")  # of the new process
    with dial(stays) as peer:
        assert peer.rest() == b"reloaded"

    def is_refused():
        try:
            dial(goes).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return True
        return False

    until(is_refused, "a listener that is closed")


def test_twice_at_once(zerg, family, control):
    server = zerg(ECHO_LINES).wait_listening()
    server.directory.write("handler.lua", SLOW_START)
    asking = control(server).send("upgrade\n")
    server.log.wait("starting")
    reply, _ = control(server).ask("upgrade")
    assert reply == {"ok": False, "error": "another process is being started already"}
    os.kill(server.pid, signal.SIGUSR2)
    server.log.expect("upgrade: another process is being started already")
    server.directory.write("go", "")
    reply = answer(asking)
    assert reply["ok"] is True
    assert family.find(server).pid == reply["pid"]
    assert server.wait_exit() == 0


def test_during_a_reload(zerg, family, control):
    server = zerg(ECHO_LINES).wait_listening()
    server.directory.write("handler.lua", SLOW_START)
    reloading = control(server).send("reload\n")
    server.log.wait("starting")
    assert control(server).ask("upgrade")[0] == {"ok": False, "error": "a reload is under way"}
    os.kill(server.pid, signal.SIGUSR2)
    server.log.expect("upgrade: a reload is under way")
    server.directory.write("go", "")
    assert answer(reloading)["ok"] is True
    upgrade(server, family)


def may_unshare(*words):
    return os.geteuid() == 0 and subprocess.run(["unshare", *words], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_unshare("--pid", "--fork", "true"), reason="needs root, and a namespace of processes")
def test_the_first_process_of_a_container(zerg, control):
    """Its end, when it has drained, would be that of the new one, too."""
    server = zerg(ECHO_LINES, wrapper=["unshare", "--pid", "--fork"]).wait_listening()
    reply, _ = control(server).ask("upgrade")
    assert reply["ok"] is False and "this is process 1, with which its container ends" in reply["error"]
    assert Control(server.control).ask("status")[0]["pid"] == 1
    serves(server, server.connect())
    server.close_peers()
    assert Control(server.control).ask("stop")[0]["ok"]
    assert server.wait_exit() == 0


def test_while_it_drains(zerg, control):
    server = zerg(ECHO_LINES, drain_timeout=30).wait_listening()
    client = control(server)
    peer = server.connect()
    assert peer.ask_line("x") == "x"
    server.send_signal(signal.SIGTERM)
    server.log.wait("TERM: no more connections")
    assert client.ask("upgrade")[0] == {"ok": False, "error": "the server is shutting down"}
    os.kill(server.pid, signal.SIGUSR2)
    server.log.expect("upgrade: the server is shutting down")
    assert peer.ask_line("y") == "y"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_what_has_not_come_to_serve(zerg, control, number):
    server = zerg(ECHO_LINES).wait_listening()
    server.directory.write("handler.lua", SLOW_START)
    asking = control(server).send("upgrade\n")
    pid = int(asking.reply()["progress"].split()[1])
    server.log.wait("starting")
    server.send_signal(number)
    assert asking.reply() == {"ok": False, "error": "the server is shutting down"}
    assert server.wait_exit() == 0
    until(lambda: not os.path.exists(f"/proc/{pid}") or "Z (zombie)" in open(f"/proc/{pid}/status").read(),
          "the end of what was started")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_comes_with_the_word_that_the_new_one_serves(zerg, family, control, number):
    """That one has clients already, and is not told to stop."""
    server = zerg(ECHO_LINES).wait_listening()
    server.directory.write("handler.lua", SLOW_START)
    asking = control(server).send("upgrade\n")
    server.log.wait("starting")
    server.send_signal(signal.SIGSTOP)
    server.directory.write("go", "")
    until(lambda: len(server.log.find("is ready, ")) == 2, "the new process")
    server.send_signal(number)
    server.send_signal(signal.SIGCONT)
    assert answer(asking)["ok"] is True
    new = family.find(server)
    assert server.wait_exit() == 0
    with dial(server.targets[0]) as peer:
        assert peer.line() == "new"
    assert new.poll() is None


def test_the_new_process_is_killed_before_it_serves(zerg, control):
    server = zerg(ECHO_LINES).wait_listening()
    before = (server.path / "handler.lua").read_text()
    server.directory.write("handler.lua", SLOW_START)
    asking = control(server).send("upgrade\n")
    pid = int(asking.reply()["progress"].split()[1])
    server.log.wait("starting")
    os.kill(pid, signal.SIGKILL)
    reply = asking.reply()
    assert reply["ok"] is False and "ended before it was ready" in reply["error"]
    server.log.expect("upgrade: " + SILENT)
    server.directory.write("handler.lua", before)
    serves(server, server.connect())


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_the_old_process_is_killed_before_the_new_one_serves(zerg, family, control, way):
    """Whoever supervises them starts another one, and would find the ports taken."""
    del family  # so that its end can be waited for
    server = zerg(ECHO_LINES, **WAYS[way]).wait_listening()
    server.directory.write("handler.lua", SLOW_START)
    asking = control(server).send("upgrade\n")
    new = Successor(server, int(asking.reply()["progress"].split()[1]))
    server.log.wait("starting")
    server.kill()
    server.directory.write("go", "")
    assert new.wait_exit() == 1
    assert server.log.find("the process before this one does not hear that it may make way: Broken pipe")
    with pytest.raises(ConnectionRefusedError):
        dial(server.targets[0])


def test_after_a_reload_that_moved_the_listeners(zerg, family, control):
    """Those of the current version go over."""
    server = zerg(ECHO_LINES).wait_listening()
    port = free_port()
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace(str(server.port), str(port)))
    assert control(server).ask("reload")[0]["ok"]
    upgrade(server, family)
    assert server.wait_exit() == 0
    with dial(("127.0.0.1", port)) as peer:
        assert peer.ask_line("x") == "x"
    assert not server.log.find("no listener is for the socket")


def test_a_second_term_ends_at_once(zerg):
    server = zerg(ECHO_LINES, drain_timeout=30).wait_listening()
    assert server.connect().ask_line("x") == "x"
    server.send_signal(signal.SIGTERM)
    server.log.wait("TERM: no more connections")
    assert server.process.poll() is None
    server.send_signal(signal.SIGTERM)
    server.log.wait("TERM again: 1 connection is cut")
    assert server.wait_exit(within=3) == 0


def privileged_port():
    """One below 1024 that nobody has."""
    while True:
        port = random.randrange(600, 1024)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.usefixtures("installed")
def test_a_server_that_became_another_user(zerg, family):
    """The new process has fewer rights than the first one had at its start: what that opened it has already."""
    directory = zerg.directory().path / "mine"
    server = zerg(PID, top=PID_TOP, user="nobody", listeners=[{"address": "127.0.0.1", "port": privileged_port()}],
                  args=["run", "-c", "zerg.lua", "--control", str(directory / "s")])
    server.control = directory / "s"
    server.wait_listening()
    new = upgrade(server, family)
    assert server.wait_exit() == 0
    assert serving(server.targets[0]) == new.pid
    assert Control(server.control).ask("status")[0]["pid"] == new.pid


IN_ITS_OWN_RUN = 'mount -t tmpfs -o mode=755 none /run && %s exec "$1" run -c zerg.lua'


@pytest.mark.skipif(not may_unshare("--mount", "mount", "-t", "tmpfs", "none", "/run"), reason="needs root, and a mount namespace")
@pytest.mark.parametrize("before", ["", "mkdir -m 755 /run/zerg;"], ids=["made by it", "of root"])
@pytest.mark.usefixtures("installed")
def test_the_usual_control_socket_of_a_server_that_became_another_user(zerg, family, before):
    """It was put where root's is. Those that come after it find it there, too, and need not be able to make one."""
    server = zerg(PID, top=PID_TOP, user="nobody",
                  wrapper=["unshare", "--mount", "sh", "-c", IN_ITS_OWN_RUN % before, "sh"])
    server.wait_listening()
    last = None
    for number in (1, 2):
        last = upgrade(server, family, number)
        path = f"/proc/{last.pid}/root/run/zerg/control.sock"
        assert Control(path).ask("status")[0]["pid"] == last.pid
    assert server.wait_exit() == 0
    assert family.members[0].wait_exit() == 0
    assert Control(path).ask("upgrade")[0]["ok"]
    assert last.wait_exit() == 0
    assert serving(server.targets[0]) == family.find(server, 3).pid
    assert not server.log.find("control socket")


def test_a_control_socket_that_was_removed_is_made_anew(zerg, family):
    server = zerg(ECHO_LINES).wait_listening()
    server.log.wait("is ready")
    os.unlink(server.control)
    new = upgrade(server, family)
    assert Control(server.control).ask("status")[0]["pid"] == new.pid
    assert server.wait_exit() == 0
    assert Control(server.control).ask("status")[0]["pid"] == new.pid


def test_who_waits_at_the_control_socket_is_answered(zerg, family):
    """Nobody takes clients between the last word of the one and the first of the other: they wait."""
    server = zerg(ECHO_LINES).wait_listening()
    for number in (1, 2, 3):
        upgrade(server, family, number)
        assert Control(server.control).ask("status")[0]["pid"] == family.members[-1].pid
    assert server.wait_exit() == 0
