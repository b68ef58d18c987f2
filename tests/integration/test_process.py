"""The process as the operating system sees it: idle means idle, privileges are dropped, SQPOLL when asked for."""

import os
import pwd
import shutil
import subprocess
import time

import pytest

from luatext import ECHO
from peer import SCALE, until

QUIET_SECONDS = 2


def idle_server(zerg, accept):
    server = zerg(ECHO, accept=accept, reactors=2)
    peers = server.connect_many(100)
    for peer in peers:
        peer.ask("x")
    return server


def data_path_switches(server):
    return {task: count for task, count in server.switches().items() if task != server.pid}


@pytest.mark.heavy
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_idle_reactors_never_wake(zerg, accept):
    """With 100 connections that say nothing, reactors and acceptor do not run at all for two seconds."""
    server = idle_server(zerg, accept)
    time.sleep(0.3)
    before = data_path_switches(server)
    time.sleep(QUIET_SECONDS)
    assert data_path_switches(server) == before


def data_path_calls(server, trace):
    return [line for line in trace.read_text().splitlines() if line.split()[0] != str(server.pid)]


@pytest.mark.heavy
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_idle_reactors_make_no_system_call(zerg, accept):
    server = idle_server(zerg, accept)
    trace = server.path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-p", str(server.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            for line in strace.stderr:
                if "attached" in line:
                    break
            time.sleep(0.5)  # attaching interrupts the waits; they are entered again
            before = data_path_calls(server, trace)
            time.sleep(QUIET_SECONDS)
            after = data_path_calls(server, trace)
        finally:
            strace.terminate()
            strace.wait()
    assert after == before, "\n".join(after[len(before):][:20])
    assert before, "strace saw nothing at all"


@pytest.mark.heavy
def test_resident_memory_at_start(zerg):
    """One reactor, nothing connected yet but the probe: at most 16 MB touched."""
    server = zerg(ECHO).wait_ready()
    assert server.resident_bytes() < 16 << 20


def test_thread_names(zerg):
    server = zerg(ECHO, reactors=2)
    server.connect().ask("x")
    assert {"zerg", "zerg-acceptor", "zerg-r0", "zerg-r1"} <= set(server.threads().values())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_user_and_group_are_dropped_to(zerg):
    nobody = pwd.getpwnam("nobody")
    server = zerg(ECHO, user="nobody")
    server.connect().ask("x")
    assert server.status("Uid") == [str(nobody.pw_uid)] * 4
    assert server.status("Gid") == [str(nobody.pw_gid)] * 4
    assert int(server.status("CapEff")[0], 16) == 0
    for task in server.threads():
        with open(f"/proc/{server.pid}/task/{task}/status", encoding="ascii") as status:
            assert f"Uid:\t{nobody.pw_uid}\t" in status.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_unknown_user_is_an_error_at_start(zerg):
    done = zerg.command("run", files={"zerg.lua": 'return { user = "no_such_user_here", '
                                      'listeners = { { port = 31999, handler = function() end } } }'})
    assert done.returncode == 1 and "no_such_user_here" in done.stderr


def test_sqpoll(zerg):
    """A kernel thread submits; it sleeps when there is nothing, and everything works as without it."""
    server = zerg(ECHO, reactor={"sqpoll": True, "sq_idle": "20ms"})
    peer = server.connect()
    for n in range(50):
        peer.ask(f"message {n}")
    assert any(name.startswith("iou-sqp") for name in server.threads().values())
    time.sleep(0.3)
    before = server.cpu_seconds()
    time.sleep(0.5)
    assert server.cpu_seconds() - before < 0.05 * SCALE
    peer.ask("awake again")


@pytest.mark.parametrize("incremental, buffer_bytes, entries", [(True, 65536, 8), (True, 1048576, 2), (False, 1024, 8),
                                                                 (False, 16384, 4096), (True, "auto", "auto")])
def test_buffer_sizes(zerg, incremental, buffer_bytes, entries):
    server = zerg(ECHO, reactor={"incremental": incremental, "recv_buffer_size": buffer_bytes,
                                 "buffer_ring_entries": entries})
    peers = server.connect_many(10)
    for peer in peers:
        peer.send_in_background(bytes(500_000))
    for peer in peers:
        assert peer.receive(500_000) == bytes(500_000)


def test_pinning_can_be_switched_off(zerg):
    allowed = len(os.sched_getaffinity(0))
    server = zerg(ECHO, pin_cpus=False)
    server.connect().ask("x")
    assert all(len(os.sched_getaffinity(task)) == allowed for task in server.threads())


def test_reactors_are_pinned_to_different_cpus(zerg):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs")
    server = zerg(ECHO, reactors=2)
    server.connect().ask("x")
    pinned = until(lambda: [frozenset(os.sched_getaffinity(task)) for task in server.threads()
                            if len(os.sched_getaffinity(task)) == 1], "pinned threads")
    assert len(set(pinned)) == 2
