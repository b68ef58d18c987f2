"""Tasks, timers, deadlines and queues, seen from a client; and the module's small parts."""

import json
import time

import pytest

from harness import free_port
from peer import SCALE, until


def seconds(since):
    return time.monotonic() - since


def test_sleep_takes_its_time_and_nobody_elses(zerg):
    server = zerg("""
        local wish = tonumber(tostring(conn:read()))
        zerg.sleep(wish)
        conn:write("done")
    """)
    slow, quick = server.connect(), server.connect()
    begin = time.monotonic()
    slow.send("0.4")
    quick.ask("0.05", "done")
    assert 0.045 <= seconds(begin) < 0.3 * SCALE
    slow.expect("done")
    assert 0.39 <= seconds(begin) < 0.8 * SCALE


def test_many_timers_fire_in_order(zerg):
    server = zerg("""
        local order = {}
        local tasks = {}
        for i = 1, 50 do
          local wait = ((i * 37) % 50) * 0.004
          tasks[i] = zerg.spawn(function() zerg.sleep(wait) order[#order + 1] = wait end)
        end
        for i = 1, 50 do tasks[i]:join() end
        for i = 2, 50 do assert(order[i - 1] <= order[i]) end
        conn:write(#order)
    """)
    assert server.connect().rest() == b"50"


def test_spawn_passes_arguments_and_join_gives_results(zerg):
    server = zerg("""
        local task = zerg.spawn(function(a, b) zerg.sleep(0.01) return a + b, "and" end, 20, 22)
        local sum = task:join()
        conn:write(tostring(sum), "\\n")
        conn:write(tostring(task:join()), "\\n")
    """)
    peer = server.connect()
    assert peer.line() == "42"
    assert peer.line() == "42"


def test_a_task_that_raises_is_logged_once_and_its_joiner_told(zerg):
    server = zerg("""
        local task = zerg.spawn(function() zerg.sleep(0.01) error("in the task") end)
        local ok, a, b = pcall(task.join, task)
        conn:write("joined\\n")
        conn:wait()
    """)
    assert server.connect().line() == "joined"
    server.log.allow("in the task")
    assert len(server.log.find("in the task")) <= 1


def test_cancel_ends_a_parked_task(zerg):
    server = zerg("""
        local reached = false
        local task = zerg.spawn(function() zerg.sleep(30) reached = true end)
        zerg.sleep(0.01)
        task:cancel()
        local result, reason = task:join()
        conn:write(tostring(reached), " ", tostring(result), " ", tostring(reason), "\\n")
    """)
    begin = time.monotonic()
    assert server.connect().line() == "false nil canceled"
    assert seconds(begin) < 5 * SCALE


def test_every_fires_until_cancelled(zerg):
    server = zerg("""
        local count = 0
        local task = zerg.every(0.02, function() count = count + 1 end)
        zerg.sleep(0.25)
        task:cancel()
        local at_cancel = count
        zerg.sleep(0.1)
        conn:write(at_cancel, " ", count, "\\n")
    """)
    fired, later = map(int, server.connect().line().split())
    assert 5 <= fired <= 13 and later == fired


def test_deadline_cuts_what_takes_too_long(zerg):
    server = zerg("""
        local value, reason = zerg.deadline(0.05, function() zerg.sleep(30) return "late" end)
        conn:write(tostring(value), " ", tostring(reason), "\\n")
        conn:write(tostring(zerg.deadline(5, function(a) return a end, "in time")), "\\n")
        local data, why = zerg.deadline(0.05, function() return conn:read() end)
        conn:write(tostring(data), " ", tostring(why), "\\n")
        conn:write(tostring(conn:read()), "\\n")
    """)
    peer = server.connect()
    begin = time.monotonic()
    assert [peer.line() for _ in range(3)] == ["nil timeout", "in time", "nil timeout"]
    assert seconds(begin) < 2 * SCALE
    assert peer.send("reads on").line() == "reads on"


def test_nested_deadlines_end_at_the_right_level(zerg):
    server = zerg("""
        local outer = { zerg.deadline(0.05, function()
          local inner = { zerg.deadline(10, function() zerg.sleep(20) end) }
          return "inner ended alone", inner[2]
        end) }
        conn:write(tostring(outer[1]), " ", tostring(outer[2]), "\\n")
        local kept = { zerg.deadline(10, function()
          local inner = { zerg.deadline(0.02, function() zerg.sleep(20) end) }
          return "outer goes on", inner[2]
        end) }
        conn:write(kept[1], " ", kept[2], "\\n")
    """)
    peer = server.connect()
    assert peer.line() == "nil timeout"
    assert peer.line() == "outer goes on timeout"


def test_queue_hands_values_over_in_order(zerg):
    server = zerg("""
        local queue = zerg.queue(2)
        local task = zerg.spawn(function() for i = 1, 100 do queue:put(i) end end)
        local sum, last = 0, 0
        for i = 1, 100 do
          local value = queue:get()
          assert(value == last + 1)
          last, sum = value, sum + value
        end
        local none, reason = queue:get(0.02)
        conn:write(sum, " ", tostring(none), " ", tostring(reason), "\\n")
    """)
    assert server.connect().line() == "5050 nil timeout"


def test_tasks_of_other_connections_wake_each_other(zerg):
    """One connection puts, another gets: between handlers of one reactor."""
    server = zerg("""
        local box = require "box"
        local word = tostring(conn:read())
        if word == "get" then conn:write(box:get()) else box:put(word) conn:write("ok") end
    """, files={"box.lua": 'return require("zerg").queue()'})
    getter = server.connect().send("get")
    server.connect().ask("a value", "ok")
    getter.expect("a value")


def test_a_task_outlives_its_handler(zerg):
    server = zerg("""
        zerg.spawn(function() zerg.sleep(0.1) zerg.log.info("the task is done") end)
        conn:write("bye")
    """)
    assert server.connect().rest() == b"bye"
    server.log.wait("the task is done")


def test_on_close_runs_while_the_handler_is_parked_elsewhere(zerg):
    server = zerg("""
        conn:on_close(function() zerg.log.info("gone: %s", tostring(conn.reason)) end)
        conn:write("parked\\n")
        zerg.sleep(0.7)
        zerg.log.info("woke")
    """)
    for leave, reason in (("close", "closed"), ("reset", "reset")):
        peer = server.connect()
        assert peer.line() == "parked"
        getattr(peer, leave)()
        server.log.wait(f"gone: {reason}", timeout=0.6 * SCALE)


def test_now_and_time(zerg):
    server = zerg("""
        local a = zerg.now()
        zerg.sleep(0.1)
        conn:write(zerg.now() - a, " ", zerg.time(), "\\n")
    """)
    elapsed, wall = map(float, server.connect().line().split())
    assert 0.095 <= elapsed < 1 * SCALE
    assert abs(wall - time.time()) < 5


def test_json(zerg):
    server = zerg("""
        local value = zerg.json.decode(tostring(conn:read()))
        value.list[4] = "four"
        conn:write(zerg.json.encode(value))
    """)
    peer = server.connect().send('{"list": [1, 2.5, null], "text": "ä\\n"}')
    assert json.loads(peer.rest()) == {"list": [1, 2.5, None, "four"], "text": "ä\n"}


def test_the_configuration_can_be_read_and_not_written(zerg):
    port = free_port()
    server = zerg("""
        local config = zerg.config
        local ok = pcall(function() config.reactors = 7 end)
        local nested = pcall(function() config.listeners[1].port = 7 end)
        conn:write(config.reactors, " ", config.listeners[1].port, " ", tostring(ok), " ", tostring(nested), "\\n")
    """, listeners=[{"address": "127.0.0.1", "port": port}])
    assert server.connect().line() == f"1 {port} false false"


def test_version_and_reactor(zerg):
    server = zerg('conn:write(zerg.version, " ", zerg.reactor, " ", zerg.reactors, "\\n")')
    version, reactor, reactors = server.connect().line().split()
    assert version[0].isdigit() and reactor == "0" and reactors == "1"


def test_closing_from_another_task_ends_a_parked_read(zerg):
    server = zerg("""
        local reader = zerg.spawn(function()
          local data, reason = conn:read()
          zerg.log.info("reader got %s %s", tostring(data), tostring(reason))
        end)
        zerg.sleep(0.01)
        conn:close()
        reader:join()
        zerg.log.info("joined")
    """)
    server.connect().expect_end()
    server.log.wait("reader got nil closed")
    server.log.wait("joined")


def test_abort_from_another_task_ends_a_parked_writer(zerg):
    server = zerg("""
        local writer = zerg.spawn(function()
          local ok, reason = conn:send(string.rep("x", 50000000))
          zerg.log.info("writer got %s %s", tostring(ok), tostring(reason))
        end)
        zerg.sleep(0.05)
        conn:abort()
        writer:join()
        zerg.log.info("joined")
    """)
    server.connect(receive_buffer=4096)
    server.log.wait("writer got nil")
    server.log.wait("joined")


def test_a_deadline_cuts_a_parked_write(zerg):
    server = zerg("""
        conn:wait()
        local ok, reason = zerg.deadline(0.1, function() return conn:send(string.rep("x", 50000000)) end)
        zerg.log.info("cut: %s %s", tostring(ok), tostring(reason))
        conn:abort()
    """)
    server.connect(receive_buffer=4096).send("go")
    server.log.wait("cut: nil timeout")


def test_two_writers_share_a_connection(zerg):
    """What one write() stages stays together, whoever else parks in flush."""
    server = zerg("""
        local function writer(char)
          for i = 1, 200 do conn:write(string.rep(char, 999), "\\n"):flush() end
        end
        local a, b = zerg.spawn(writer, "a"), zerg.spawn(writer, "b")
        a:join() b:join()
    """, listeners=[{"address": "127.0.0.1", "write_buffer_max": 4096}])
    lines = server.connect().rest().split(b"\n")
    assert sorted(lines) == [b""] + [b"a" * 999] * 200 + [b"b" * 999] * 200


def test_a_kept_handle_of_a_closed_connection_is_harmless(zerg):
    server = zerg("""
        local kept = require "kept"
        local old = kept.conn
        kept.conn = conn
        if old then
          local results = { pcall(old.write, old, "for nobody") }
          pcall(old.read, old)
          pcall(old.abort, old)
          old:close()
          conn:write("id ", tostring(old.id == conn.id), " ", tostring(results[1] and results[2]), "\\n")
        end
        conn:wait()
        zerg.log.info("gone")
    """, files={"kept.lua": "return {}"})
    server.connect().close()
    for turn in range(1, 20):
        until(lambda: len(server.log.find("gone")) == turn, "the connection before has ended")
        with server.connect() as peer:
            assert peer.line() in ("id false nil", "id false false")


def test_tasks_that_never_rest_do_not_starve_the_network(zerg):
    server = zerg("""
        if tostring(conn:read()) == "busy" then
          conn:send("ok")
          local stop = zerg.now() + 1
          while zerg.now() < stop do zerg.sleep(0) end
          conn:write("end")
        else
          conn:write("served")
        end
    """)
    busy = [server.connect().ask("busy", "ok") for _ in range(3)]
    begin = time.monotonic()
    for _ in range(20):
        server.connect().ask("x", "served")
    assert seconds(begin) < 0.5 * SCALE
    for peer in busy:
        peer.expect("end")


def test_bytes_before_the_end_are_read_after_it(zerg):
    """The peer sent and left long ago; a handler that was busy still gets every byte, then the end."""
    server = zerg("""
        zerg.sleep(0.2)
        local count = 0
        for data in conn:reads() do count = count + #data end
        zerg.log.info("read %d, then %s", count, conn.reason)
    """)
    server.connect().send(bytes(100_000)).close()
    server.log.wait("read 100000, then closed")


@pytest.mark.parametrize("callback", ['string.gsub("x", "x", WAIT)', "table.sort({ 3, 1, 2 }, WAIT)"], ids=["gsub", "sort"])
@pytest.mark.parametrize("wait", ["conn:read()", "zerg.sleep(0.05)"], ids=["read", "sleep"])
@pytest.mark.parametrize("after", ["zerg.sleep(0.1)", ""], ids=["sleeps", "goes_on"])
def test_waiting_inside_a_callback_of_c_is_an_error_and_nothing_else(zerg, callback, wait, after):
    """Lua cannot yield there: what the call had begun to wait for must be forgotten, not waited for."""
    server = zerg("""
        local ok = pcall(function() CALLBACK end)
        AFTER
        conn:write(tostring(ok), " ", conn:reader():read_line())
    """.replace("CALLBACK", callback.replace("WAIT", "function() " + wait + " end")).replace("AFTER", after))
    for _ in range(5):
        server.connect().send("one\n").expect("false one")


def test_a_handler_may_end_right_after_a_wait_that_could_not_be(zerg):
    server = zerg('pcall(string.gsub, "x", "x", function() conn:read() end)')
    for _ in range(5):
        server.connect().expect_end()


def test_on_close_still_knows_the_connection_after_it_has_waited(zerg):
    server = zerg("""
        conn:on_close(function(closed, reason)
          zerg.sleep(0.1)
          zerg.log.info("late: %s %s", closed.remote_addr, reason)
        end)
        conn:write("ready\\n")
        conn:wait()
    """)
    peer = server.connect()
    assert peer.line() == "ready"
    peer.close()
    server.log.wait("late: 127.0.0.1 closed")


def test_a_generator_cannot_yield_out_of_a_deadline(zerg):
    """It would end the handler later, when the deadline that nobody leaves has passed."""
    server = zerg("""
        local values = coroutine.wrap(function()
          zerg.deadline(0.05, function() coroutine.yield("out") end)
        end)
        local ok, message = pcall(values)
        conn:write(tostring(ok), " ", message, "\\n")
        zerg.sleep(0.1)
        conn:write("alive\\n")
    """)
    peer = server.connect()
    line = peer.line()
    assert line.startswith("false ") and "coroutine.yield: cannot yield out of zerg.deadline" in line
    assert "handler.lua:4:" in line
    assert peer.line() == "alive"


def test_the_coroutine_of_a_task_cannot_be_resumed(zerg):
    server = zerg("""
        local own = coroutine.running()
        local other
        local task = zerg.spawn(function() other = coroutine.running() zerg.sleep(0.1) return "slept" end)
        local helper = zerg.spawn(function()
          conn:write(tostring(select(2, coroutine.resume(own))), "\\n")
          conn:write(tostring(select(2, coroutine.resume(other))), "\\n")
        end)
        helper:join()
        conn:write(tostring(task:join()), "\\n")
    """)
    peer = server.connect()
    assert [peer.line() for _ in range(3)] == ["cannot resume the coroutine of a handler or task"] * 2 + ["slept"]


def test_a_task_that_raises_the_cancellation_of_another_is_logged(zerg):
    server = zerg("""
        local _, token
        zerg.deadline(0.01, function() _, token = pcall(zerg.sleep, 1) end)
        local _, reason = zerg.spawn(function() error(token, 0) end):join()
        conn:write(reason, "\\n")
    """)
    server.log.allow("error in a task")
    assert server.connect().line() == "error: canceled"
    server.log.wait("error in a task: the cancellation of another task")
