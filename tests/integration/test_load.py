"""Numbers: 100,000 short connections, 10,000 at once, and what they cost."""

import subprocess

import pytest

from harness import run_tool, tool
from luatext import ECHO
from peer import PATIENCE, SCALE

STORM_CONNECTIONS = 100_000


@pytest.mark.heavy
def test_a_hundred_thousand_short_connections(zerg):
    """Random RST, FIN with data, half-close, cut records; the end of the test is the balance check."""
    server = zerg(ECHO).wait_ready()
    print(run_tool("storm", "127.0.0.1", server.port, STORM_CONNECTIONS, 200, 1))


@pytest.mark.threads
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_a_storm_over_two_reactors(zerg, accept):
    server = zerg(ECHO, reactors=2, accept=accept).wait_ready()
    run_tool("storm", "127.0.0.1", server.port, int(20_000 / SCALE), 400, 2, int(10 * SCALE))


@pytest.mark.threads
def test_a_storm_on_handlers_with_tasks_and_retained_bytes(zerg):
    """Spawned tasks, timers and leases amid connections that die at any moment, on two reactors."""
    server = zerg("""
        conn:timeout{ read = 5 }
        local task = zerg.spawn(function() zerg.sleep(0.001) end)
        for data in conn:reads() do
          local copy = data:slice(1, #data)
          copy:retain()
          zerg.sleep(0.001)
          if not conn:write(copy) then break end
          copy:release()
        end
        task:join()
    """, reactors=2).wait_ready()
    run_tool("storm", "127.0.0.1", server.port, int(5000 / SCALE), 200, 3, int(10 * SCALE))


@pytest.mark.heavy
def test_ten_thousand_connections_at_once(zerg):
    """Each gets its own echo, twice; an idle one costs little memory (the benchmarks measure how little)."""
    server = zerg(ECHO).wait_ready()
    before = server.resident_bytes()
    with subprocess.Popen([tool("many"), "127.0.0.1", str(server.port), "10000"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as many:
        assert many.stdout.readline() == "holding 10000\n", many.stdout.read()
        cost = (server.resident_bytes() - before) / 10_000
        output, _ = many.communicate("\n", timeout=3 * PATIENCE)
    assert many.returncode == 0, output
    assert cost < 8192, f"{cost:.0f} bytes per connection"


@pytest.mark.heavy
@pytest.mark.threads
def test_two_thousand_connections_at_once_over_two_reactors(zerg):
    server = zerg(ECHO, reactors=2).wait_ready()
    done = subprocess.run([tool("many"), "127.0.0.1", str(server.port), "2000"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
