"""Sockets that a service manager opens and the program is started with (LISTEN_FDS): here a parent in Python does it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

import harness
from harness import free_port
from luatext import ECHO_LINES, config, handler
from peer import dial, until
from test_upgrade import upgrade

# What a manager does between fork and exec: the sockets from 3 on, and LISTEN_PID is the process that execs.
LAUNCH = """
import fcntl, os, sys
count = int(sys.argv[1])
fds = [int(word) for word in sys.argv[2:2 + count]]
spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for index, fd in enumerate(spare):
    os.dup2(fd, 3 + index, inheritable=True)
os.closerange(3 + count, 200)
os.environ.setdefault("LISTEN_FDS", str(count))
os.environ["LISTEN_PID"] = os.environ.pop("WRONG_PID", str(os.getpid()))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


def listening(family, address, *options):
    sock = socket.socket(family)
    for level, name, value in options:
        sock.setsockopt(level, name, value)
    sock.bind(address)
    sock.listen(16)
    return sock


@pytest.fixture
def activated(zerg):
    """Starts a server with these sockets; they stay the test's, too."""
    with contextlib.ExitStack() as stack:
        def start(socks, listeners, *, env=None, body=ECHO_LINES, **options):
            for sock in socks:
                stack.enter_context(sock)
            fds = [sock.fileno() for sock in socks]
            directory = zerg.directory({"handler.lua": handler(body)})
            rows = [{"handler": "handler.lua", **row} for row in listeners]
            directory.write("zerg.lua", config(rows, {"reactors": 1, "drain_timeout": 3, **options}))
            wrapper = [sys.executable, "-c", LAUNCH, str(len(fds)), *map(str, fds)]
            targets = [row["path"] if "path" in row else (row.get("address", "127.0.0.1"), row["port"])
                       for row in listeners]
            server = harness.Server.__new__(harness.Server)
            keep = subprocess.Popen
            try:
                subprocess.Popen = lambda *args, **kwargs: keep(*args, **kwargs, pass_fds=fds)
                server.__init__(directory, ["run", "-c", "zerg.lua"], targets, env=env, wrapper=wrapper)
            finally:
                subprocess.Popen = keep
            zerg.servers.append(server)
            return server.wait_listening()

        yield start


def inodes(pid):
    return {os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")}


def uses(server, sock):
    return os.fstat(sock.fileno()).st_ino in inodes(server.pid)


V6_ONLY = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
DUAL = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


@pytest.mark.parametrize("family, address, row, options", [
    (socket.AF_INET, "127.0.0.1", {"address": "127.0.0.1"}, []),
    (socket.AF_INET, "0.0.0.0", {"address": "0.0.0.0"}, []),
    (socket.AF_INET6, "::1", {"address": "::1"}, []),
    (socket.AF_INET6, "::", {"address": "::"}, [V6_ONLY]),
    (socket.AF_INET6, "::", {}, [DUAL]),
], ids=["v4", "all of v4", "v6", "all of v6", "dual"])
def test_a_socket_of_its_address_is_used_and_left_to_the_parent(activated, family, address, row, options):
    sock = listening(family, (address, 0), *options)
    port = sock.getsockname()[1]
    server = activated([sock], [{"port": port, **row}])
    assert uses(server, sock)
    where = ("::1" if family == socket.AF_INET6 else "127.0.0.1", port)
    with dial(where) as peer:
        assert peer.ask_line("x") == "x"
    server.stop()
    with dial(where) as peer:  # waits in the backlog for the next one
        sock.settimeout(5)
        sock.accept()[0].close()
        assert peer.rest() == b""


def test_a_unix_socket_and_its_file_are_left(activated, tmp_path):
    path = str(tmp_path / "s")
    sock = listening(socket.AF_UNIX, path)
    server = activated([sock], [{"path": path}])
    with dial(path) as peer:
        assert peer.ask_line("x") == "x"
    server.stop()
    assert os.path.exists(path)
    with dial(path):
        sock.settimeout(5)
        sock.accept()[0].close()


def test_several_and_the_rest_is_opened(activated):
    socks = [listening(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(3)]
    rows = [{"address": "127.0.0.1", "port": sock.getsockname()[1]} for sock in reversed(socks)]
    rows.append({"address": "127.0.0.1", "port": free_port()})
    server = activated(socks, rows)
    assert all(uses(server, sock) for sock in socks)
    for row in rows:
        with dial(("127.0.0.1", row["port"])) as peer:
            assert peer.ask_line("x") == "x"


def listen_at(server, before, after):
    """Reloads with another port."""
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace(str(before), str(after)))
    count = len(server.log.find("is current"))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(server.log.find("is current")) > count, "the reload")


def answers(port):
    with dial(("127.0.0.1", port)) as peer:
        return peer.ask_line("x") == "x"


def test_a_socket_that_no_listener_is_for_waits_for_one(activated):
    sock, other = (listening(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(2))
    port, other_port = (one.getsockname()[1] for one in (sock, other))
    server = activated([sock, other], [{"address": "127.0.0.1", "port": other_port}])
    server.log.expect(f"no listener is for the socket at 127.0.0.1:{port} that the process was started with: "
                      "it is kept for a reload that brings one")
    assert uses(server, sock) and uses(server, other)
    for before, after in ((other_port, port), (port, other_port), (other_port, port)):
        listen_at(server, before, after)
        server.log.expect(f"no listener is for the socket at 127.0.0.1:{before} any more")
        assert answers(after)
    sock.close()
    other.close()
    assert answers(port)  # by the server's own copy


@pytest.mark.threads
def test_a_socket_that_no_listener_is_for_goes_over_in_an_upgrade(activated, family):
    sock, other = (listening(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(2))
    port, other_port = (one.getsockname()[1] for one in (sock, other))
    server = activated([sock, other], [{"address": "127.0.0.1", "port": other_port}], reactors=2)
    server.log.allow("it is kept for a reload")
    upgrade(server, family)
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace(str(other_port), str(port)))
    upgrade(server, family, 2)  # another configuration: it finds both
    assert server.wait_exit() == 0
    assert family.members[0].wait_exit() == 0
    assert answers(port)
    family.members[-1].stop()
    for one in (sock, other):  # and neither was shut down
        with dial(one.getsockname()):
            one.settimeout(5)
            one.accept()[0].close()


def test_a_listener_that_comes_back_while_its_connections_are_there(activated):
    """Its socket has been left alone."""
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    port, free = sock.getsockname()[1], free_port()
    server = activated([sock], [{"address": "127.0.0.1", "port": port}])
    with dial(("127.0.0.1", port)) as peer:
        assert peer.ask_line("x") == "x"
        listen_at(server, port, free)
        server.log.expect(f"at 127.0.0.1:{port} any more")
        assert answers(free)
        listen_at(server, free, port)
        assert answers(port)
        assert peer.ask_line("y") == "y"


def test_descriptors_that_are_no_listening_sockets(activated):
    plain = socket.socket()
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    server = activated([plain, datagrams, sock], [{"address": "127.0.0.1", "port": sock.getsockname()[1]}])
    for number in (3, 4):
        server.log.expect(f"the descriptor {number} of LISTEN_FDS cannot be used: it is no listening stream socket")
    assert uses(server, sock)


@pytest.mark.parametrize("env, warns", [({"LISTEN_FDS": "x"}, True), ({"LISTEN_FDS": "-1"}, True),
                                        ({"LISTEN_FDS": "9999999999"}, True), ({"LISTEN_FDS": "0"}, True),
                                        ({"LISTEN_FDS": ""}, True), ({"LISTEN_FDS": "50"}, True), ({"WRONG_PID": "1"}, False),
                                        ({"WRONG_PID": "x"}, True), ({"LISTEN_FDNAMES": "a:b:c"}, True)])
def test_garbage_in_the_environment(activated, env, warns):
    """It opens its own, then."""
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    port = free_port()
    server = activated([sock], [{"address": "127.0.0.1", "port": port}], env=env)
    if warns:
        server.log.expect("LISTEN_FDS: ")
    with dial(("127.0.0.1", port)) as peer:
        assert peer.ask_line("x") == "x"


def test_scripts_and_what_they_start_do_not_see_it(activated):
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    port = sock.getsockname()[1]
    body = 'local f = io.popen("env; ls -l /proc/self/fd") conn:write(f:read("*a")) f:close()'
    activated([sock], [{"address": "127.0.0.1", "port": port}], body=body)
    with dial(("127.0.0.1", port)) as peer:
        seen = peer.rest().decode()
    assert "LISTEN_" not in seen and "socket:" not in seen, seen


@pytest.mark.threads
def test_a_socket_of_the_parent_stays_so_over_upgrades(activated, family, tmp_path):
    path = str(tmp_path / "s")
    socks = [listening(socket.AF_INET, ("127.0.0.1", 0)), listening(socket.AF_UNIX, path)]
    port, own = socks[0].getsockname()[1], str(tmp_path / "own")
    server = activated(socks, [{"address": "127.0.0.1", "port": port}, {"path": path}, {"path": own}], reactors=2)
    server.targets[:] = [("127.0.0.1", port), path, own]
    for number in (1, 2):
        upgrade(server, family, number)
    last = family.members[-1]
    for target in server.targets:
        with dial(target) as peer:
            assert peer.ask_line("x") == "x"
    last.stop()
    assert os.path.exists(path) and not os.path.exists(own)
    for sock, target in zip(socks, server.targets):
        with dial(target):
            sock.settimeout(5)
            sock.accept()[0].close()


def test_a_reload_that_drops_the_listener_leaves_it_to_the_parent(activated):
    sock = listening(socket.AF_INET, ("127.0.0.1", 0))
    port, free = sock.getsockname()[1], free_port()
    server = activated([sock], [{"address": "127.0.0.1", "port": port}])
    listen_at(server, port, free)
    server.log.expect(f"no listener is for the socket at 127.0.0.1:{port} any more, which the process was started "
                      "with: who connects there waits for a reload that brings one")
    assert answers(free)  # so the other one is not accepted from any more
    with dial(("127.0.0.1", port)):
        sock.settimeout(5)
        sock.accept()[0].close()


def test_an_address_that_overlaps_one_of_the_parent_s(activated):
    """No reload can have it: the parent goes on listening there."""
    sock = listening(socket.AF_INET, ("0.0.0.0", 0))
    port = sock.getsockname()[1]
    server = activated([sock], [{"address": "0.0.0.0", "port": port}])
    text = (server.path / "zerg.lua").read_text()
    server.directory.write("zerg.lua", text.replace("0.0.0.0", "127.0.0.1"))
    server.process.send_signal(signal.SIGHUP)
    server.log.expect(f"cannot listen on 127.0.0.1:{port}: the process was started with a socket on 0.0.0.0:{port}, "
                      "which overlaps it: only a restart without that one changes it")
    assert answers(port)
