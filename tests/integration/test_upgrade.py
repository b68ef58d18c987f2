"""USR2 and `zerg upgrade`: another process of the program takes the sockets over, and nobody notices. See
test_upgrade_faults.py for those that come to nothing."""

import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import sys
import threading
import time

import pytest

from controls import Control
from harness import PROGRAM, free_port
from luatext import ECHO, ECHO_LINES, handler
from peer import PATIENCE, dial, until

WAYS = {"one": {"reactors": 1}, "acceptor": {"reactors": 2, "accept": "acceptor"},
        "reuseport": {"reactors": 2, "accept": "reuseport"}}
PID = 'conn:write(tostring(require("ffi").C.getpid()), "\\n")'
PID_TOP = 'require("ffi").cdef("int getpid(void);")'


def upgrade(server, family, number=1):
    """By signal; gives the process that serves then."""
    server.log.wait("is ready")
    os.kill(server.pid if number == 1 else family.members[-1].pid, signal.SIGUSR2)
    return family.find(server, number)


def serving(target):
    """The process that serves a new connection, of a handler that says it."""
    with dial(target) as peer:
        return int(peer.line())


def wait_served_by(process, target):
    """The old one may still take who came before it had let go of the socket."""
    until(lambda: serving(target) == process.pid, f"process {process.pid} serving {target}")


# ---- what it is ----


def test_a_signal_brings_another_process_and_the_first_ends(zerg, family, control):
    server = zerg(PID, top=PID_TOP).wait_listening()
    client = control(server)
    assert serving(server.targets[0]) == server.pid
    new = upgrade(server, family)
    assert new.pid != server.pid
    wait_served_by(new, server.targets[0])
    assert server.wait_exit() == 0
    assert client.ended()
    status, _ = Control(server.control).ask("status")
    assert status["pid"] == new.pid and status["state"] == "running"
    assert status["listeners"][0]["address"] == "127.0.0.1:%d" % server.port
    new.stop()
    with pytest.raises(ConnectionRefusedError):
        dial(server.targets[0])
    assert not server.control.exists()


def test_the_command_says_who_serves_and_ends_well(zerg, family):
    server = zerg(PID, top=PID_TOP).wait_listening()
    done = zerg.command("upgrade", "--control", server.control)
    new = family.find(server)
    assert done.returncode == 0, done.stderr
    assert str(new.pid) in done.stdout
    assert server.wait_exit() == 0
    done = zerg.command("stop", "--control", server.control)  # of the new one
    assert done.returncode == 0
    assert new.wait_exit() == 0


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_who_waits_for_room_at_a_full_listener_is_served(zerg, family, way):
    listener = {"address": "127.0.0.1", "max_connections": 2}
    server = zerg(ECHO_LINES, listeners=[listener], **WAYS[way]).wait_listening()
    peers = [server.connect() for _ in range(40)]
    for peer in peers:
        peer.send("x\n")
    waiting = {peer.sock: peer for peer in peers}
    assert select.select(waiting, [], [], PATIENCE)[0], "some are served"
    new = upgrade(server, family)
    while waiting:
        served = select.select(waiting, [], [], PATIENCE)[0]
        assert served, f"{len(waiting)} are not served"
        for peer in map(waiting.pop, served):
            assert peer.line() == "x"
            peer.close()
    assert server.wait_exit() == 0
    assert new.poll() is None


def test_the_request_gets_the_pid(zerg, family, control):
    server = zerg(ECHO)
    reply, progress = control(server).ask("upgrade")
    new = family.find(server)
    assert reply == {"ok": True, "pid": new.pid} and progress == [f"process {new.pid} starts"]
    assert server.wait_exit() == 0


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_a_conversation_ends_on_the_old_process(zerg, family, way):
    server = zerg(ECHO_LINES, drain_timeout=30, **WAYS[way]).wait_listening()
    peers = [server.connect() for _ in range(20)]
    for peer in peers:
        assert peer.ask_line("before") == "before"
    new = upgrade(server, family)
    for peer in peers:
        assert peer.ask_line("after") == "after"
    assert server.process.poll() is None
    for peer in peers[1:]:
        peer.close()
    server.connect().ask("new\n")
    assert peers[0].ask_line("last") == "last"
    server.close_peers()
    assert server.wait_exit() == 0
    assert new.poll() is None


def test_three_generations(zerg, family):
    server = zerg(PID, top=PID_TOP).wait_listening()
    pids = [server.pid]
    for number in (1, 2, 3):
        new = upgrade(server, family, number)
        wait_served_by(new, server.targets[0])
        pids.append(new.pid)
    assert server.wait_exit() == 0
    for member in family.members[:-1]:
        assert member.wait_exit() == 0
    assert len(set(pids)) == 4
    client = Control(server.control)
    assert client.ask("status")[0]["pid"] == pids[-1]


def test_what_has_changed_in_the_configuration_counts(zerg, family):
    server = zerg('conn:write("one")').wait_listening()
    server.connect().expect("one")
    server.directory.write("handler.lua", handler('conn:write("two")'))
    upgrade(server, family)
    assert server.wait_exit() == 0
    server.connect().expect("two")


IGNORING_CHILDREN = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_supervisor_that_ignores_its_children(zerg, family):
    """Whoever is started by it begins with that."""
    server = zerg(ECHO_LINES, wrapper=[sys.executable, "-c", IGNORING_CHILDREN]).wait_listening()
    upgrade(server, family)
    assert server.wait_exit() == 0
    upgrade(server, family, 2)
    assert family.members[0].wait_exit() == 0
    assert server.connect().ask_line("x") == "x"


# ---- every kind of listener ----


def test_a_unix_listener_keeps_its_file(zerg, family):
    server = zerg(ECHO_LINES, listeners=[{"path": "s", "mode": "0660"}]).wait_listening()
    inode = os.stat(server.targets[0]).st_ino
    peer = server.connect()
    assert peer.ask_line("a") == "a"
    new = upgrade(server, family)
    assert server.connect().ask_line("b") == "b"
    peer.close()
    server.close_peers()
    assert server.wait_exit() == 0
    assert os.stat(server.targets[0]).st_ino == inode
    server.connect().ask("c\n")
    server.close_peers()
    new.stop()
    assert not os.path.exists(server.targets[0])


def test_addresses_of_every_kind(zerg, family):
    shared = free_port()
    server = zerg(ECHO_LINES, listeners=[{"address": "::1"}, {"address": "0.0.0.0", "port": shared},
                                         {"address": "::", "port": shared}, {"port": free_port()}])
    server.wait_listening()
    upgrade(server, family)
    assert server.wait_exit() == 0
    for listener in range(4):
        assert server.connect(listener).ask_line("x") == "x"
    with dial(("::1", server.targets[3][1])) as peer:
        assert peer.ask_line("x") == "x"
    server.close_peers()


@pytest.mark.threads
def test_listeners_that_come_and_go_with_it(zerg, family):
    port, other = free_port(), free_port()
    server = zerg(ECHO_LINES, listeners=[{"address": "127.0.0.1", "port": port}], reactors=2).wait_listening()
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace(str(port), str(other)))
    upgrade(server, family)
    server.log.expect(f"no listener is for the socket at 127.0.0.1:{port}")
    assert server.wait_exit() == 0
    with dial(("127.0.0.1", other)) as peer:
        assert peer.ask_line("x") == "x"
    with pytest.raises(ConnectionRefusedError):
        dial(("127.0.0.1", port))


@pytest.mark.threads
@pytest.mark.parametrize("before, after, reactors", [("reuseport", "reuseport", 1), ("reuseport", "acceptor", 2),
                                                     ("reuseport", "reuseport", 3), ("acceptor", "reuseport", 2)])
def test_everybody_is_served_while_the_old_one_drains_whatever_accepts(zerg, family, before, after, reactors):
    """The kernel chooses among the sockets of one port, whoever has them: somebody has to accept at each."""
    server = zerg(ECHO_LINES, reactors=4, accept=before, drain_timeout=30).wait_listening()
    peer = server.connect()
    assert peer.ask_line("x") == "x"
    server.configure(accept=after, reactors=reactors)
    for number in (1, 2):  # twice, as the second one has more sockets than it would open
        upgrade(server, family, number)
        for _ in range(40):
            with dial(server.targets[0]) as other:
                assert other.ask_line("y") == "y"
    assert peer.ask_line("x") == "x"
    server.close_peers()
    assert server.wait_exit() == 0


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_a_listener_that_goes_is_closed_while_the_old_one_drains(zerg, family, way, tmp_path):
    server = zerg(ECHO_LINES, drain_timeout=30, **WAYS[way],
                  listeners=[{"address": "127.0.0.1"}, {"address": "127.0.0.1"}, {"path": str(tmp_path / "s")}])
    server.wait_listening()
    peer = server.connect(1)
    assert peer.ask_line("x") == "x"
    stays, goes, path = server.targets
    server.configure(listeners=server.rows[:1])
    upgrade(server, family)
    server.log.allow("no listener is for the socket")

    def is_refused(target):
        try:
            dial(target).close()  # it may come before the old one knows
        except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
            return True
        return False

    until(lambda: is_refused(goes), "a port that is closed")
    until(lambda: is_refused(path) and not os.path.exists(path), "a unix socket that is closed")
    assert peer.ask_line("y") == "y"
    with dial(stays) as other:
        assert other.ask_line("z") == "z"
    server.close_peers()
    assert server.wait_exit() == 0


@pytest.mark.threads
@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_another_number_of_reactors(zerg, family, before, after):
    server = zerg(ECHO_LINES, reactors=before, accept="reuseport").wait_listening()
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace(f"reactors = {before}", f"reactors = {after}"))
    upgrade(server, family)
    assert server.wait_exit() == 0
    for _ in range(20):
        assert server.connect().ask_line("x") == "x"


def test_a_script_and_a_proxy_of_the_command_line(zerg, family, behind):
    server = zerg.script(handler(PID, PID_TOP))
    server.wait_listening()
    new = upgrade(server, family)
    wait_served_by(new, server.targets[0])
    port = free_port()
    proxy = zerg.proxy(f"127.0.0.1:{port}", f"127.0.0.1:{server.port}", port=port)
    proxy.wait_listening()
    upgrade(proxy, family)
    assert proxy.wait_exit() == 0
    assert serving(proxy.targets[0]) == new.pid


# ---- under load ----


class Load:
    """Clients in threads; each notes what went wrong, and how much went well."""

    def __init__(self, *works):
        self.stopping = threading.Event()
        self.counts = [0] * len(works)
        self.problems = []
        self.threads = [threading.Thread(target=self._run, args=(index, work), daemon=True)
                        for index, work in enumerate(works)]
        for thread in self.threads:
            thread.start()

    def _run(self, index, work):
        try:
            for _ in work(self.stopping):
                self.counts[index] += 1
        except Exception as error:  # whatever it is, the test has to say it
            self.problems.append(f"client {index} after {self.counts[index]}: {error!r}")

    def wait_busy(self, count=20):
        """Until each has done so much more."""
        goal = [done + count for done in self.counts]
        until(lambda: self.problems or all(done >= wanted for done, wanted in zip(self.counts, goal)),
              f"a load that goes on: {self.counts}")

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not self.problems, self.problems


def short_lines(target):
    """A connection for each line."""

    def work(stopping):
        number = 0
        while not stopping.is_set():
            number += 1
            with dial(target) as peer:
                assert peer.ask_line(f"line {number}") == f"line {number}"
            yield

    return work


def long_lines(target):
    """One connection for all of them, however often the program is replaced."""

    def work(stopping):
        with dial(target) as peer:
            number = 0
            while not stopping.is_set():
                number += 1
                assert peer.ask_line(f"line {number}") == f"line {number}"
                yield
                time.sleep(0.002)  # a person who types

    return work


def keep_alive(target):
    """Requests of HTTP, on one connection for as long as the server keeps it; each has its whole answer."""

    def read_answer(peer):
        lines = []
        while (line := peer.line()) != "\r":
            lines.append(line)
        fields = {line.split(":")[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
        assert lines[0] == "HTTP/1.1 200 OK\r", lines
        body = peer.receive(int(fields["content-length"]))
        return body, fields.get("connection") == "close"

    def work(stopping):
        number = 0
        peer = None
        while not stopping.is_set():
            peer = peer or dial(target)
            number += 1
            peer.send(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n")
            body, is_last = read_answer(peer)
            assert body == f"/{number}".encode()
            yield
            if is_last:
                peer.close()
                peer = None
        if peer:
            peer.close()

    return work


@pytest.mark.threads
@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_refused_and_nothing_is_lost(zerg, family, way):
    web = 'return function(req, res) res:send(req.path) end\n'
    server = zerg(ECHO_LINES, files={"web.lua": web}, drain_timeout=30, **WAYS[way], listeners=[
        {"address": "127.0.0.1"}, {"address": "127.0.0.1", "protocol": "http", "handler": "web.lua"}]).wait_listening()
    lines, requests = server.targets
    load = Load(*[short_lines(lines)] * 3, *[long_lines(lines)] * 3, *[keep_alive(requests)] * 3)
    for number in (1, 2):
        load.wait_busy()
        upgrade(server, family, number)
    load.wait_busy()
    load.end()
    assert server.wait_exit() == 0
    assert family.members[0].wait_exit() == 0


# ---- what the new process has ----


def descriptors(pid):
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sorted(found)


def kinds(pid):
    return sorted(re.sub(r"\d+", "N", text) for text in descriptors(pid))


def test_no_descriptor_is_left_over(zerg, family):
    """Nor one that a script has open, or a module of C that does not know of close-on-exec."""
    leak = 'kept = io.open("kept", "w") ' \
           'require("ffi").cdef("int open(const char *, int);") require("ffi").C.open("leaked", 66)'
    server = zerg(ECHO, top=leak).wait_listening()
    server.connect().ask("x")
    server.close_peers()
    first = kinds(server.pid)
    server.directory.write("handler.lua", handler(ECHO))
    new = upgrade(server, family)
    assert server.wait_exit() == 0
    server.connect().ask("x")
    server.close_peers()
    assert not [name for name in descriptors(new.pid) if name.endswith(("kept", "leaked"))]
    until(lambda: len(kinds(new.pid)) <= len([name for name in first if not name.endswith(("kept", "leaked"))]),
          f"no more descriptors: {first} {kinds(new.pid)}")
    third = upgrade(server, family, 2)
    assert new.wait_exit() == 0
    server.connect().ask("x")
    server.close_peers()
    until(lambda: len(kinds(third.pid)) <= len(first), f"no more descriptors: {first} {kinds(third.pid)}")


def test_no_signal_is_blocked_and_the_environment_is_as_it_was(zerg, family):
    server = zerg(ECHO, env={"SOMETHING": "of mine"}).wait_listening()
    new = upgrade(server, family)
    assert server.wait_exit() == 0
    environ = dict(entry.split("=", 1) for entry in
                   pathlib.Path(f"/proc/{new.pid}/environ").read_text().split("\0") if "=" in entry)
    assert environ["SOMETHING"] == "of mine"
    other = upgrade(server, family, 2)
    again = [entry.split("=")[0] for entry in pathlib.Path(f"/proc/{other.pid}/environ").read_text().split("\0")]
    assert sorted(set(again)) == sorted(again), "each variable once"
    for number in (signal.SIGHUP, signal.SIGUSR1):
        os.kill(other.pid, number)
    server.log.wait("version 2 is current")
    server.log.wait("USR1: log file reopened")


def test_what_a_handler_starts_has_no_signals_blocked(zerg, family):
    """Those of the mask that the program was started with, and no more."""
    server = zerg('local f = io.popen("grep SigBlk /proc/self/status") conn:write(f:read("*l")) f:close()').wait_listening()
    before = server.connect().rest()
    upgrade(server, family)
    assert server.connect().rest() == before


# ---- another program ----


def patched(path, version):
    """A copy of the program that says another version."""
    data = PROGRAM.read_bytes()
    current = re.search(rb"zerg (\d+\.\d+\.\d+)", os.popen(f"{PROGRAM} version").read().encode())[1]
    assert len(version) == len(current)
    path.write_bytes(data.replace(current, version))
    path.chmod(0o755)
    return path


def test_the_program_on_disk_is_what_is_started(zerg, family, installed):
    server = zerg(ECHO).wait_listening()
    os.replace(patched(installed.with_name("next"), b"9.8.7"), installed)
    upgrade(server, family)
    assert server.wait_exit() == 0
    assert Control(server.control).ask("status")[0]["version"] == "9.8.7"
    server.log.wait("zerg 9.8.7 is ready")


STARTED = {
    "by its path": 'exec {program} "$@"',
    "by a relative path": 'exec {relative} "$@"',
    "by PATH": 'PATH={directory}:$PATH exec zerg "$@"',
    "from its directory": 'd=$PWD; cd {directory}; shift 3; exec ./zerg run -c $d/zerg.lua "$@"',
}


@pytest.mark.parametrize("how", STARTED)
def test_a_link_is_followed_anew(zerg, family, how):
    """As releases are installed beside each other, and a link says which one it is."""
    root = zerg.directory().path
    for name in ("v1", "v2"):
        (root / name).mkdir()
    shutil.copy(PROGRAM, root / "v1" / "zerg")
    patched(root / "v2" / "zerg", b"9.8.7")
    current = root / "current"
    current.symlink_to("v1")
    places = {"program": current / "zerg", "directory": current, "relative": "../" + root.name + "/current/zerg"}
    server = zerg(ECHO, wrapper=["sh", "-c", "shift; " + STARTED[how].format(**places), "sh"]).wait_listening()
    (root / "next").symlink_to("v2")
    os.rename(root / "next", current)
    new = upgrade(server, family)
    assert server.wait_exit() == 0
    assert Control(server.control).ask("status")[0]["version"] == "9.8.7"
    started = server.log.find(f"upgrade: process {new.pid} starts, of ")[0].text.split(" of ")[1]
    assert os.path.isabs(started) and os.path.samefile(started, root / "v2" / "zerg")
    upgrade(server, family, 2)
