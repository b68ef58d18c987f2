"""Storms of short, rude connections (tests/tools/storm.c) while something is scarce, fails or ends."""

import signal
import subprocess

import pytest

from harness import run_tool, tool
from luatext import ECHO
from peer import SCALE

pytestmark = pytest.mark.threads


def storm(server, total, concurrency, seed):
    return run_tool("storm", "127.0.0.1", server.port, int(total / SCALE), concurrency, seed, int(10 * SCALE))


def start_storm(server):
    return subprocess.Popen([tool("storm"), "127.0.0.1", str(server.port), "1000000", "100", "9"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_more_peers_than_the_listener_takes(zerg, accept):
    server = zerg(ECHO, accept=accept, reactors=2, listeners=[{"address": "127.0.0.1", "max_connections": 30}])
    storm(server.wait_ready(), 5000, 200, 1)


@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_more_peers_than_descriptors(zerg, accept):
    server = zerg(ECHO, accept=accept, reactors=2, rlimit_nofile=80)
    server.log.allow("Too many open files")
    for _ in range(2):
        server.connect().ask("both reactors are up")
    storm(server, 5000, 200, 2)
    server.connect().ask("still well")


@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_more_peers_than_connection_slots(zerg, accept):
    server = zerg(ECHO, accept=accept, reactors=2, reactor={"max_connections": 20})
    server.log.allow("max_connections")
    storm(server.wait_ready(), 5000, 200, 3)


@pytest.mark.parametrize("incremental", [False, True])
def test_two_small_buffers(zerg, incremental):
    server = zerg(ECHO, reactors=2, reactor={"incremental": incremental, "buffer_ring_entries": 2,
                                             "recv_buffer_size": 1024})
    storm(server.wait_ready(), 5000, 100, 4)


def test_one_submission_at_a_time(zerg):
    server = zerg(ECHO, reactors=2, reactor={"ring_entries": 8, "batch_cqes": 1}, acceptor={"ring_entries": 1})
    storm(server.wait_ready(), 5000, 100, 5)


def test_sqpoll(zerg):
    server = zerg(ECHO, reactor={"sqpoll": True, "sq_idle": "5ms"})
    storm(server.wait_ready(), 3000, 50, 6)


def test_handlers_that_fail_at_any_point(zerg):
    """The peers here take a closed connection for an answer; the server has nothing left over and goes on."""
    server = zerg("""
        local chance = require "chance"
        for data in conn:reads() do
          local kept = data:retain()
          if chance() then error("by chance") end
          if chance() then zerg.spawn(function() zerg.sleep(0.002) error("a task, by chance") end) end
          conn:write(kept)
          if chance() then conn:abort() error("after abort") end
          if chance() then kept:release() end
        end
    """, reactors=2, files={"chance.lua": """
        local state = 7
        return function() state = (state * 1103515245 + 12345) % 2147483648 return state % 5 == 0 end
    """})
    server.log.allow("chance|after abort")
    for turn in range(int(400 / SCALE)):
        with server.connect() as peer:
            peer.send(b"x" * (turn % 90 + 1))
            try:
                peer.receive(1)
            except (AssertionError, ConnectionResetError):
                continue
            if turn % 3 == 0:
                peer.reset()


def test_memory_that_runs_out_at_any_point(zerg):
    """The limit strikes wherever the next allocation happens to be, in zerg's own Lua as well."""
    server = zerg("""
        local eaten = require "eaten"
        for data in conn:reads() do
          pcall(function() for i = 1, 3000 do eaten[#eaten + 1] = tostring(data) .. i .. #eaten end end)
          local fill = {}
          local ok = pcall(function() while true do fill[#fill + 1] = { #fill } end end)
          if not ok then for i = #eaten, 1, -3 do eaten[i] = nil end end
          conn:write("answer")
        end
    """, files={"eaten.lua": "return {}"}, script_memory_max="4m")
    server.log.allow("memory")
    answered = 0
    for turn in range(150):
        with server.connect() as peer:
            peer.send(b"y" * (turn + 1))
            try:
                answered += peer.receive(6) == b"answer"
            except (AssertionError, ConnectionResetError):
                pass
    assert answered > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_the_end_comes_in_the_middle(zerg, number, accept):
    for _ in range(3):
        server = zerg(ECHO, accept=accept, reactors=2, drain_timeout=0.2)
        server.log.allow("drain|cut")
        server.connect().ask("ready")
        with start_storm(server) as rude:
            try:
                server.connect().ask("in the middle")
                server.send_signal(number)
                assert server.wait_exit() == 0
            finally:
                rude.kill()


def test_leases_that_a_script_never_gives_back(zerg):
    """What scripts still hold when the server ends is collected with their state."""
    server = zerg("""
        local kept = require "kept"
        for data in conn:reads() do
          kept[#kept + 1] = data:retain()
          kept[#kept + 1] = data:slice(1, 2)
          kept[#kept + 1] = data:slice(1, 2):retain()
          for view in data:views() do kept[#kept + 1] = view:retain() end
          conn:write("kept")
        end
    """, files={"kept.lua": "return {}"}, reactors=2)
    for _ in range(50):
        server.connect().ask("some bytes", "kept")
