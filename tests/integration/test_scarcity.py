"""Running out: of descriptors, buffers, memory, and of a script's attention for what its peer sends."""

import pytest

from luatext import ECHO
from peer import PATIENCE, SCALE, pattern


@pytest.mark.threads
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_three_hundred_clients_with_sixty_four_descriptors(zerg, accept):
    """Accepting pauses without spinning and resumes as connections end; everybody is served."""
    server = zerg("""
        local line = conn:reader():read_line()
        conn:write(tostring(line), "\\n")
    """, rlimit_nofile=64, accept=accept, reactors=2)
    server.log.allow("descriptors|open files|max_connections|EMFILE|Too many")
    peers = server.connect_many(300)
    before = server.cpu_seconds()
    peers[-1].expect_silence(1.0)
    assert server.cpu_seconds() - before < 0.1 * SCALE
    for number, peer in enumerate(peers):
        peer.send(f"client {number}\n")
    for number, peer in enumerate(peers):
        assert peer.line() == f"client {number}"
        peer.close()


@pytest.mark.threads
@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_accept_resumes_after_descriptors_ran_out_and_all_was_quiet(zerg, accept):
    server = zerg(ECHO, rlimit_nofile=64, accept=accept, reactors=2)
    server.log.allow("descriptors|open files|max_connections|EMFILE|Too many")
    for _ in range(3):
        peers = server.connect_many(80)
        peers[0].ask("first")
        for peer in peers:
            peer.close()
    server.connect().ask("again")


@pytest.mark.parametrize("incremental", [False, True])
def test_a_greedy_connection_does_not_starve_the_others(zerg, incremental):
    """One script retains all it gets; the ring is small; its neighbours still receive."""
    server = zerg("""
        if tostring(conn:peek(1)):sub(1, 1) ~= "g" then
          for data in conn:reads() do conn:write(data) end
          return
        end
        local kept, n = {}, 0
        while n < 30000 do
          local data = conn:read()
          n = n + #data
          kept[#kept + 1] = data:retain() or data
        end
        conn:write("full\\n")
        conn:wait()
        for _, data in ipairs(kept) do data:release() end
        conn:write("freed\\n")
    """, reactor={"recv_buffer_size": 4096, "buffer_ring_entries": 16, "incremental": incremental})
    greedy = server.connect()
    greedy.send(b"g" * 30_000)
    assert greedy.line() == "full"
    for _ in range(5):
        server.connect().ask(pattern(10_000))
    greedy.send("more")
    assert greedy.line() == "freed"


@pytest.mark.heavy
def test_more_completions_than_the_queue_holds(zerg):
    """The kernel keeps them on a list and ends the multishots: a slow moment, but every byte is answered."""
    server = zerg("""
        local what = tostring(conn:peek(1)):sub(1, 1)
        if what == "s" then
          local stop = os.clock() + 0.3
          while os.clock() < stop do end
          conn:write("slept")
          return
        end
        for data in conn:reads() do conn:write(data) end
    """, reactor={"ring_entries": 8, "max_connections": 400, "incremental": False, "recv_buffer_size": 1024,
                  "buffer_ring_entries": 32768})
    data = pattern(100_000)
    peers = server.connect_many(300)
    for _ in range(4):
        sleeper = server.connect().send("s")
        for peer in peers:
            peer.send_in_background(data)
        sleeper.expect("slept")
        for peer in peers:
            assert peer.receive(len(data)) == data
    server.stop()
    assert server.counted("overflows") > 0


@pytest.mark.heavy
@pytest.mark.parametrize("incremental", [False, True])
def test_bytes_that_are_not_read_hold_up_their_sender(zerg, incremental):
    """The server's memory stays bounded, the sender blocks, and all arrives once the script reads."""
    server = zerg("""
        local gate = require "gate"
        local what = tostring(conn:read())
        if what == "open" then gate.queue:put(true) return end
        conn:write("ready\\n")
        gate.queue:get()
        local count = 0
        for data in conn:reads() do count = count + #data end
        conn:write(count)
    """, files={"gate.lua": 'return { queue = require("zerg").queue() }'}, reactor={"incremental": incremental})
    peer = server.connect()
    assert peer.send("fill").line() == "ready"
    before = server.resident_bytes()
    sent = peer.send_until_blocked(256 << 20)
    assert sent < 64 << 20
    assert server.resident_bytes() - before < 16 << 20
    server.connect().send("open").rest()
    peer.send(bytes(1 << 20)).half_close()
    assert int(peer.rest()) == sent + (1 << 20)


def test_script_memory_ends_in_a_lua_error(zerg):
    """The handler that wanted too much fails; the server and its other connections go on."""
    server = zerg("""
        if tostring(conn:read()) == "eat" then
          local eaten = {}
          for i = 1, 1e7 do eaten[i] = string.rep("x", 1000) .. i end
        end
        conn:write("fine")
    """, script_memory_max="32m")
    bystander = server.connect()
    for _ in range(3):
        server.connect().send("eat").expect_end()
        server.log.expect("memory")
        server.connect().ask("be modest", "fine")
    bystander.ask("still", "fine")
    assert server.resident_bytes() < 256 << 20


def test_a_script_can_catch_its_memory_error(zerg):
    server = zerg("""
        local ok, message = pcall(function()
          local eaten = {}
          for i = 1, 1e7 do eaten[i] = string.rep("x", 1000) .. i end
        end)
        collectgarbage()
        conn:write(tostring(ok), " ", tostring(message))
    """, script_memory_max="32m")
    assert server.connect().rest() == b"false not enough memory"


@pytest.mark.parametrize("eat", ["for i = 1, 1e9 do fill[i] = { i, round } end",
                                 "local s = 'x' for i = 1, 1e9 do s = s .. s end",
                                 "for i = 1, 1e9 do fill[i] = 'text ' .. i .. round end"],
                         ids=["tables", "doubling", "strings"])
def test_memory_that_runs_out_in_compiled_code_is_caught_there(zerg, eat):
    """Debian 12's LuaJIT finds the wrong frame, or crashes, when an allocation fails in a trace: it must not fail."""
    server = zerg("""
        conn:wait()
        for round = 1, 20 do
          local ok, message = pcall(function() local fill = {} EAT end)
          assert(not ok and message:find("not enough memory", 1, true), message)
          zerg.sleep(0)
        end
        conn:write("survived")
    """.replace("EAT", eat), script_memory_max="8m", script_stall=0)
    peer = server.connect()
    peer.sock.settimeout(5 * PATIENCE)  # all of it is work for a CPU that others may want too
    peer.ask("x", "survived")


def test_memory_comes_back_after_a_burst(zerg):
    """Write slabs return to their pool: ten more bursts (of 20 MB each) cost no more than one that was badly timed."""
    server = zerg("conn:wait() conn:write(text) conn:wait()", top='local text = string.rep("x", 200000)')

    def burst():
        peers = server.connect_many(100)
        for peer in peers:
            peer.send("go")
        for peer in peers:
            peer.receive(200_000)
            peer.close()

    burst()
    after_first = server.resident_bytes()
    for _ in range(10):
        burst()
    assert server.resident_bytes() - after_first < 32 << 20
