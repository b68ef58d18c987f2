"""What a handler can be, how it fails, and what the log says then."""

import re
import time

import pytest

from harness import free_port
from luatext import FIRST_BODY_LINE, Lua, config, handler
from peer import SCALE


def test_a_function_in_the_configuration(zerg):
    server = zerg(listeners=[{"address": "127.0.0.1", "handler": Lua('function(conn) conn:write("inline") end')}])
    assert server.connect().rest() == b"inline"


@pytest.mark.threads
def test_a_table_with_hooks(zerg):
    """start runs once per reactor before any connection, stop once per reactor at the end."""
    server = zerg(files={"handler.lua": """
        local zerg = require "zerg"
        local started = 0
        return {
          start = function() started = started + 1 zerg.log.info("hook start on %d", zerg.reactor) end,
          serve = function(conn, state) conn:write(started, " ", tostring(state)) end,
          stop = function() zerg.log.info("hook stop on %d", zerg.reactor) end,
        }
    """}, reactors=2)
    for _ in range(4):
        assert server.connect().rest() == b"1 nil"
    server.stop()
    for hook in ("start", "stop"):
        assert len(server.log.find(f"hook {hook} on 0")) == 1
        assert len(server.log.find(f"hook {hook} on 1")) == 1


def test_hooks_may_start_tasks(zerg):
    server = zerg(files={"handler.lua": """
        local zerg = require "zerg"
        local ticks = 0
        return {
          start = function() zerg.every(0.01, function() ticks = ticks + 1 end) end,
          serve = function(conn) zerg.sleep(0.2) conn:write(ticks) end,
        }
    """})
    assert int(server.connect().rest()) >= 5


def test_require_beside_the_configuration_and_in_lua_path(zerg):
    server = zerg("""
        conn:write(require("beside"), " ", require("sub.module"), " ", require("deep"))
    """, files={"beside.lua": 'return "beside"', "sub/module.lua": 'return "sub"', "lib/deep.lua": 'return "deep"'},
         lua_path="lib/?.lua")
    assert server.connect().rest() == b"beside sub deep"


def test_handlers_in_folders(zerg):
    server = zerg(files={"handlers/one.lua": handler('conn:write("from a folder")')},
                  listeners=[{"address": "127.0.0.1", "handler": "handlers/one.lua"}])
    assert server.connect().rest() == b"from a folder"


def test_an_error_is_one_entry_with_traceback_place_and_connection(zerg):
    server = zerg("""
        conn:write(conn.id, "\\n")
        conn:wait()
        local function inner() error("the reason") end
        inner()
    """)
    peer = server.connect()
    number = peer.line()
    peer.send("x").expect_end()
    entry = server.log.expect("the reason")
    line = FIRST_BODY_LINE + 2
    assert re.search(rf"handler\.lua:{line}: the reason", entry)
    assert "traceback" in entry and f"handler.lua:{line + 1}" in entry
    assert re.search(rf"\b{number}\b", entry)
    assert len(server.log.find("the reason")) == 1


@pytest.mark.parametrize("value", ["nil", "{}", "42",
                                   "setmetatable({}, { __tostring = function() error('again') end })"])
def test_errors_that_are_not_strings(zerg, value):
    server = zerg(f"conn:wait() error({value})")
    server.connect().send("x").expect_end()
    server.log.expect("")
    server.connect().send("x").expect_end()
    server.log.expect("")


def test_a_stack_overflow_is_an_error_like_others(zerg):
    server = zerg("local function f(n) return 1 + f(n + 1) end conn:wait() f(1)")
    server.connect().send("x").expect_end()
    server.log.expect("stack overflow")
    server.connect().send("x").expect_end()
    server.log.expect("stack overflow")


def test_an_error_in_on_close_harms_nobody(zerg):
    server = zerg('conn:on_close(function() error("in the hook") end) conn:write("x") conn:wait()')
    server.connect().expect("x").close()
    server.log.expect("in the hook")
    server.connect().expect("x").close()
    server.log.expect("in the hook")


def test_yield_by_hand_is_an_error_not_a_crash(zerg):
    """coroutine.yield in a handler parks for nothing the reactor knows of."""
    server = zerg('conn:wait() coroutine.yield("what") conn:write("went on")')
    server.connect().send("x").rest()
    server.log.allow("yield|park")
    server.connect().send("x").rest()


def test_a_scripts_own_coroutines_work(zerg):
    server = zerg("""
        local gen = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
        conn:write(gen(), gen(), gen())
        local ok = pcall(function() conn:write("|") zerg.sleep(0.01) conn:write("|") end)
        conn:write(tostring(ok))
    """)
    assert server.connect().rest() == b"123||true"


def test_pooled_coroutines_start_clean(zerg):
    """Handlers that fail, are cut or end inside pcall leave nothing for the next one on the same coroutine."""
    server = zerg("""
        assert(state == nil)
        local secret
        local word = tostring(conn:read())
        assert(secret == nil)
        secret = word
        if word == "fail" then error("as told") end
        if word == "wait" then pcall(function() conn:read() conn:read() end) end
        conn:write(secret)
    """)
    for _ in range(30):
        server.connect().send("fail").expect_end()
        server.log.expect("as told")
        server.connect().send("wait").reset()
        server.connect().ask("fine", "fine")


LOOP = """
local what = tostring(conn:read())
if what == "where" then conn:write(zerg.reactor, "\\n") conn:wait() return end
local ffi = require "ffi"
pcall(ffi.cdef, "long time(long *);")
local stop = ffi.C.time(nil) + 4
while ffi.C.time(nil) < stop do for i = 1, 100000 do what = (i * 7) % 13 end end
conn:write("done")
"""


@pytest.mark.parametrize("jit", ["", "jit.off() "], ids=["compiled", "interpreted"])
def test_a_handler_that_never_parks_is_reported(zerg, jit):
    """The log names script and line within two seconds or so; the other reactor goes on serving."""
    zerg.jit = jit
    server = zerg(LOOP, reactors=2)
    peers = {}
    while len(peers) < 2:
        peer = server.connect()
        peers[peer.send("where").line()] = peer
    stuck = server.connect()
    begin = time.monotonic()
    stuck.send("loop")
    entry = server.log.expect(r"handler\.lua:\d+", timeout=2.5 * SCALE)
    assert time.monotonic() - begin > 0.9
    line = int(re.search(r"handler\.lua:(\d+)", entry)[1])
    assert FIRST_BODY_LINE + 3 <= line <= FIRST_BODY_LINE + 5
    served = 0
    deadline = time.monotonic() + 1
    for peer in server.connect_many(4):
        peer.send("where")
        peer.sock.settimeout(max(0.05, deadline - time.monotonic()))
        try:
            served += bool(peer.line())
        except TimeoutError:
            pass
    assert served >= 1
    stuck.expect("done")
    server.log.allow(r"handler\.lua:\d+|parks again|went on")


def test_an_endless_loop_does_not_outlive_the_drain(zerg):
    """TERM ends even a reactor that will never park again, after drain_timeout."""
    server = zerg('conn:send("x") while true do end', drain_timeout=0.5)
    server.connect().expect("x")
    server.log.expect(r"handler\.lua:3", timeout=3 * SCALE)
    server.check_at_end = False
    server.send_signal(15)
    server.wait_exit(within=8)


def test_a_short_stall_is_not_reported(zerg):
    server = zerg("""
        conn:wait()
        local ffi = require "ffi"
        local stop = os.clock() + 0.3
        while os.clock() < stop do end
        conn:write("done")
    """)
    server.connect().ask("x", "done")


def test_thousands_of_distinct_handlers_stay_fast(zerg):
    """Machine code of many hot functions: the compiler's limits are large enough not to thrash."""
    server = zerg("""
        local functions = require "functions"
        for data in conn:reads() do
          local sum = 0
          for i = 1, #functions do
            local f = functions[i]
            for n = 1, 120 do sum = f(sum, n) end
          end
          conn:write(sum, "\\n")
        end
    """, files={"functions.lua": """
        local out = {}
        for i = 1, 1000 do
          out[i] = assert(loadstring("return function(a, n) for k = 1, 3 do a = (a + n * " .. i ..
            " + k) % 65521 end return a end"))()
        end
        return out
    """})
    peer = server.connect()
    first = peer.ask_line("x")
    for _ in range(5):
        assert peer.ask_line("x") == first


def test_a_hook_that_does_not_exist_is_refused(zerg):
    listeners = [{"address": "127.0.0.1", "port": free_port(), "handler": "handler.lua"}]
    files = {"handler.lua": "return { serve = function() end, strat = function() end }", "zerg.lua": config(listeners, {})}
    done = zerg.command("run", files=files)
    assert done.returncode == 1 and "unknown hook `strat`: did you mean `start`?" in done.stderr
