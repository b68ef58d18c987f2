"""What the service manager is told, by a socket of the test's own in NOTIFY_SOCKET (sd_notify(3))."""

import os
import select
import signal
import socket
import time

import pytest

from luatext import ECHO, handler
from peer import PATIENCE, SCALE, until
from test_upgrade import upgrade


class Manager:
    """Receives messages, as lists of assignments."""

    def __init__(self, path):
        self.path = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind(self.path)
        self.sock.settimeout(PATIENCE)
        self.sender = None

    def message(self):
        """The next one, without its time; `sender` is the process that it came from."""
        data, extra, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(12))
        self.sender = int.from_bytes(extra[0][2][:4], "little")
        return [line for line in data.decode().split("\n") if not line.startswith("MONOTONIC_USEC=")]

    def expect(self, *lines):
        """The next one consists of these; STATUS with a text that begins so. Those of the watchdog are passed over."""
        while (got := self.message()) == ["WATCHDOG=1"]:
            pass
        assert len(got) == len(lines) and all(
            line == want or want.startswith("STATUS=") and line.startswith(want) for line, want in zip(got, lines)), got
        return self

    def expect_nothing(self, seconds=0.2):
        assert not select.select([self.sock], [], [], seconds)[0], self.message()

    def close(self):
        self.sock.close()


@pytest.fixture
def manager(tmp_path):
    one = Manager(tmp_path / "notify")
    yield one
    one.close()


@pytest.fixture
def service(manager, zerg):
    """Starts a server with the manager, up to its first READY."""

    def start(body=ECHO, env=None, **options):
        server = zerg(body, env={"NOTIFY_SOCKET": manager.path, **(env or {})}, **options)
        manager.expect("READY=1", "STATUS=version 1, 1 listener, ")
        assert manager.sender == server.pid
        return server.wait_listening()

    return start


def test_ready_comes_when_it_serves_and_stopping_at_the_end(service, manager):
    server = service(reactors=2)
    server.connect().ask("x").close()
    manager.expect_nothing()
    server.send_signal(signal.SIGTERM)
    manager.expect("STOPPING=1").expect("STATUS=")
    assert server.wait_exit() == 0


def test_no_ready_before_start_hooks_are_done(manager, zerg):
    server = zerg(files={"handler.lua": """
        local zerg = require "zerg"
        return {
          start = function() zerg.log.info("starting") while not io.open("go") do zerg.sleep(0.01) end end,
          serve = function(conn) conn:read() end,
        }
    """}, env={"NOTIFY_SOCKET": manager.path})
    server.log.wait("starting")
    manager.expect_nothing(0.1)
    server.directory.write("go", "")
    manager.expect("READY=1", "STATUS=version 1")


def test_a_start_that_fails_is_never_ready(manager, zerg):
    done = zerg.command("run", env={"NOTIFY_SOCKET": manager.path},
                        files={"zerg.lua": "return { listeners = { { port = 1, handler = 'none.lua' } } }"})
    assert done.returncode == 1
    manager.expect_nothing(0.1)


def test_while_it_drains_and_at_the_second_term(service, manager):
    server = service(drain_timeout=30)
    server.connect().ask("x")
    server.send_signal(signal.SIGTERM)
    manager.expect("STOPPING=1").expect("STATUS=1 connection left")
    server.process.send_signal(signal.SIGTERM)
    manager.expect("STOPPING=1").expect("STATUS=")
    assert server.wait_exit() == 0


# ---- reloads ----


def change(server, way, client):
    if way == "HUP":
        server.process.send_signal(signal.SIGHUP)
    elif way == "request":
        client.ask("reload")
    else:
        server.directory.write("handler.lua", handler(ECHO))


@pytest.mark.parametrize("way", ["HUP", "request", "watch"])
def test_a_reload_however_it_begins(service, manager, control, way):
    server = service(watch=way == "watch")
    client = control(server)
    for number in (2, 3):
        change(server, way, client)
        manager.expect("RELOADING=1").expect("READY=1", f"STATUS=version {number}, 1 listener, 1 reactor")
    manager.expect_nothing()


@pytest.mark.parametrize("way", ["HUP", "request", "watch"])
def test_a_reload_that_fails(service, manager, control, way):
    server = service(watch=way == "watch")
    client = control(server)
    server.directory.write("handler.lua", "return function(")
    if way != "watch":
        change(server, way, client)
    manager.expect("RELOADING=1").expect("READY=1", "STATUS=version 1, ")
    server.log.expect("reload: version 1 goes on")
    server.directory.write("handler.lua", handler(ECHO))


def test_reloads_that_follow_each_other_are_ready_once_all_are_done(service, manager, control):
    server = service()
    clients = [control(server) for _ in range(5)]
    for client in clients:
        client.send("reload\n")
    last = []
    while not (last == ["READY=1"] and all(select.select([client.file], [], [], 0)[0] for client in clients)):
        last = manager.message()[:1]
        assert last in (["RELOADING=1"], ["READY=1"])
    manager.expect_nothing()


def test_a_check_is_no_reload(service, manager, control):
    server = service()
    assert control(server).ask("check")[0]["ok"]
    manager.expect_nothing()


def test_a_reload_that_a_stop_cuts_off_is_not_ready(service, manager, control):
    """Nothing says that it serves behind what says that it ends."""
    server = service(drain_timeout=30)
    server.connect().ask("x")
    server.directory.write("handler.lua", 'local zerg = require "zerg" return { serve = print, '
                           'start = function() zerg.log.info("starting") zerg.sleep(60) end }')
    control(server).send("reload\n")
    manager.expect("RELOADING=1")
    server.log.wait("starting")
    server.send_signal(signal.SIGTERM)
    server.log.expect("the server is shutting down")
    manager.expect("STOPPING=1").expect("STATUS=1 connection left")
    server.close_peers()
    assert server.wait_exit() == 0
    manager.expect_nothing(0.1)


# ---- upgrades ----


def test_nothing_comes_from_a_process_that_the_manager_does_not_know(service, manager, family):
    """With NotifyAccess=main it hears the main process only: what comes before MAINPID is lost."""
    server = service(env={"WATCHDOG_USEC": "200000"})
    main = server.pid
    for number in range(1, 9):
        new = upgrade(server, family, number)
        while (lines := manager.message()) != [f"MAINPID={new.pid}"]:
            assert manager.sender == main, lines
        main = new.pid
        assert manager.message()[0] in ("READY=1", "WATCHDOG=1") and manager.sender == main


def test_an_upgrade_names_the_new_main_process(service, manager, family):
    server = service()
    new = upgrade(server, family)
    manager.expect(f"MAINPID={new.pid}")
    assert manager.sender == server.pid
    manager.expect("READY=1", "STATUS=version 1, ")
    assert manager.sender == new.pid
    assert server.wait_exit() == 0
    manager.expect_nothing(0.1)
    os.kill(new.pid, signal.SIGHUP)
    manager.expect("RELOADING=1")
    assert manager.sender == new.pid
    manager.expect("READY=1", "STATUS=version 2")
    new.stop()
    manager.expect("STOPPING=1")
    assert manager.sender == new.pid


def test_one_that_fails_says_nothing(service, manager, control):
    server = service()
    server.log.allow("handler.lua")
    server.directory.write("handler.lua", "return function(")
    assert control(server).ask("upgrade")[0]["ok"] is False
    server.log.expect("upgrade: the new process")
    manager.expect_nothing()


# ---- the watchdog ----


def test_the_watchdog_is_fed_twice_in_its_time_and_by_the_new_process_after_an_upgrade(service, manager, family):
    seconds = 0.4 * SCALE
    server = service(env={"WATCHDOG_USEC": str(int(seconds * 1e6))})

    def fed_by(pid):
        times = []
        while len(times) < 4:
            if manager.message() == ["WATCHDOG=1"] and manager.sender == pid:
                times.append(time.monotonic())
        gaps = [after - before for before, after in zip(times, times[1:])]
        assert all(gap < seconds for gap in gaps), gaps
        assert sum(gaps) > seconds, "half the time, not more often"

    fed_by(server.pid)
    new = upgrade(server, family)
    fed_by(new.pid)


def test_a_watchdog_of_another_process_is_not_ours(service, manager):
    service(env={"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
    manager.expect_nothing(0.3)


# ---- no manager ----


def test_without_a_manager_there_is_no_thread_for_it(zerg):
    server = zerg(ECHO).wait_listening()
    assert "zerg-notify" not in server.threads().values()


def test_a_manager_that_is_gone_holds_nothing_up(zerg, tmp_path, control):
    server = zerg(ECHO, env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    server.log.expect("NOTIFY_SOCKET: cannot tell the service manager")
    assert control(server).ask("reload")[0]["ok"]


def test_a_manager_that_does_not_read_holds_nothing_up(manager, zerg, control):
    server = zerg(ECHO, env={"NOTIFY_SOCKET": manager.path})
    server.log.allow("the service manager does not read what it is told")
    client = control(server)
    for _ in range(300):
        assert client.ask("reload")[0]["ok"]
    server.stop()
    until(lambda: server.process.poll() == 0, "the end")
