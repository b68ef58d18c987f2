"""The command line: running, checking, and what it says when something is wrong."""

import re
import shutil
import socket

import pytest

from harness import REPOSITORY, free_port, tool
from luatext import ECHO, handler

CONFIG = 'return { listeners = { { address = "127.0.0.1", port = %s, handler = %s } } }\n'
INLINE = "function(conn) end"


def zerg_lua(port=7000, handler_source=INLINE):
    return {"zerg.lua": CONFIG % (port, handler_source)}


# ---- running ----


def test_a_script_without_configuration(zerg):
    server = zerg.script(handler(ECHO))
    server.connect().ask("hello")


def test_run_is_the_default_and_finds_zerg_lua(zerg):
    for args in ([], ["run"], ["-c", "zerg.lua"]):
        zerg(ECHO, args=args or ["run"]).connect().ask("x")
    server = zerg(ECHO, args=["--log-level", "debug"])
    server.connect().ask("x")


def test_reactors_from_the_command_line(zerg):
    server = zerg('conn:write(zerg.reactors)', args=["run", "--reactors", "2"])
    server.reactors = 2
    assert server.connect().rest() == b"2"


def test_a_configuration_elsewhere_is_the_root_of_its_paths(zerg):
    """Handler files and require() start at the configuration's directory, not at the working directory."""
    first = zerg('conn:write(require("beside"))', files={"beside.lua": 'return "found"'})
    assert first.connect().rest() == b"found"
    first.stop()
    second = zerg(args=["run", "-c", str(first.path / "zerg.lua")])
    second.targets = first.targets
    assert second.connect().rest() == b"found"


def test_init_makes_something_that_runs(zerg):
    directory = zerg.directory()
    made = zerg.command("init", "site", directory=directory)
    assert made.returncode == 0, made.stderr
    config = directory.path / "site" / "zerg.lua"
    assert zerg.command("check", "-c", config).returncode == 0
    again = zerg.command("init", "site", directory=directory)
    assert again.returncode != 0 and "exists" in again.stderr + again.stdout
    text = re.sub(r"\bport = \d+", lambda _: f"port = {free_port()}", config.read_text())
    ports = [int(port) for port in re.findall(r"^[^-]*\bport = (\d+)", text, re.M)]
    config.write_text(text)
    server = zerg(config="return {} -- unused", args=["run", "-c", str(config)])
    server.targets = [("127.0.0.1", ports[0])]
    server.connect().send("hello\n").receive(1)


def test_modules_from_disk_while_developing(zerg):
    """ZERG_LUA_DIR: the Lua side comes from that directory in place of what is linked in."""
    directory = zerg.directory()
    shutil.copytree(REPOSITORY / "lua", directory.path / "lua")
    init = directory.path / "lua" / "zerg" / "init.lua"
    head, end = init.read_text().rsplit("return M", 1)
    init.write_text(head + 'M.from_disk = "yes"\nreturn M' + end)
    server = zerg("conn:write(tostring(zerg.from_disk))", env={"ZERG_LUA_DIR": str(directory.path / "lua")})
    assert server.connect().rest() == b"yes"
    assert zerg("conn:write(tostring(zerg.from_disk))").connect().rest() == b"nil"


# ---- help, version, misuse ----


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["run", "--help"], ["check", "--help"], ["init", "--help"],
                                  ["status", "--help"], ["help", "stop"], ["help", "servers"], ["reload", "-h"],
                                  ["help", "upgrade"], ["connections", "--help"], ["close", "--help"]])
def test_help(zerg, args):
    done = zerg.command(*args)
    assert done.returncode == 0 and "zerg" in done.stdout and not done.stderr


def test_version(zerg):
    done = zerg.command("version")
    assert done.returncode == 0
    for word in ("zerg", "liburing", "LuaJIT"):
        assert word in done.stdout


@pytest.mark.parametrize("args, hint", [(["chek"], "check"), (["run", "--reactrs", "2"], "--reactors"),
                                        (["--log-levle", "info"], "--log-level"), (["verison"], "version")])
def test_the_nearest_known_word_is_suggested(zerg, args, hint):
    done = zerg.command(*args, files=zerg_lua())
    assert done.returncode == 2 and hint in done.stderr


@pytest.mark.parametrize("args", [["run", "-c"], ["script.lua", "-p"], ["script.lua", "-p", "80a"],
                                  ["run", "--reactors", "x"]])
def test_missing_and_wrong_arguments(zerg, args):
    done = zerg.command(*args, files={"script.lua": handler(ECHO), **zerg_lua()})
    assert done.returncode == 2 and done.stderr.strip()


@pytest.mark.parametrize("args, words", [
    ([], "wants where to relay to"), ([":8080"], "wants where to relay to"), (["--http", "a:1"], "not both")])
def test_proxy_without_what_it_needs(zerg, args, words):
    done = zerg.command("proxy", "--tcp", *args)
    assert done.returncode == 2 and words in done.stderr


def test_proxy_names_the_targets_that_are_wrong(zerg):
    done = zerg.command("proxy", "--tcp", ":8080", "127.0.0.1:1", "127.0.0.1", "[::1]:0", "127.0.0.1:1")
    assert done.returncode == 2
    for part in ('got "127.0.0.1"', 'got "[::1]:0"', '"127.0.0.1:1" is there already'):
        assert "zerg proxy: TARGET: " in done.stderr and part in done.stderr


# ---- check ----


@pytest.mark.parametrize("args", [["check"], ["-t"], ["check", "-c", "zerg.lua"]])
def test_check_accepts_what_is_right(zerg, args):
    done = zerg.command(*args, files=zerg_lua())
    assert done.returncode == 0, done.stderr


def test_check_counts_upstreams(zerg):
    upstreams = 'upstreams = { a = { servers = { "127.0.0.1:1" } }, b = { servers = { "db:1", "unix:x" } } },'
    done = zerg.command("check", files={"zerg.lua": CONFIG.replace("return {", "return { " + upstreams)
                                        % (7000, INLINE)})
    assert done.returncode == 0 and "1 listener, 2 upstreams, " in done.stdout
    assert "upstream" not in zerg.command("check", files=zerg_lua()).stdout


def test_check_knows_upstreams_that_are_not_there(zerg):
    done = zerg.command("check", files={"zerg.lua": """return {
  listeners = {
    { port = 7000, forward = "ap" },
  },
  upstreams = {
    app = {
      servers = {
        "127.0.0.1:3000",
        { address = "127.0.0.1" },
      },
    },
  },
}
"""})
    assert done.returncode == 1
    assert "zerg.lua:3: listeners[1].forward: there is no upstream `ap`: did you mean `app`?" in done.stderr
    assert "zerg.lua:9: upstreams.app.servers[2].address: expected an address or host name with a port" in done.stderr


def test_check_reports_everything_at_once(zerg):
    done = zerg.command("check", files={"zerg.lua": """return {
  reactors = -1,
  reactor = { ring_entires = 64 },
  drain_timeout = "soon",
  listeners = {
    { port = 7000, handler = function(conn) end },
    { port = "80a", handler = "absent.lua" },
  },
}
"""})
    problems = done.stderr + done.stdout
    assert done.returncode == 1
    for part in ("reactors", "reactor.ring_entires", "ring_entries", "drain_timeout", "listeners[2].port", '"80a"',
                 "65535", "absent.lua"):
        assert part in problems, problems
    assert re.search(r"zerg\.lua:\d+: listeners\[2\]\.port: expected a number from 1 to 65535, got \"80a\"", problems)


def test_check_names_the_line_of_a_syntax_error(zerg):
    done = zerg.command("check", files={"zerg.lua": "return {\n  reactors = = 1,\n}\n"})
    assert done.returncode == 1 and "zerg.lua:2:" in done.stderr + done.stdout


@pytest.mark.parametrize("text, words", [
    ("return function(conn) x = = 1 end", ["handler.lua:1:"]),
    ("local x = 1", ["handler.lua"]),
    ("\nerror('at load')", ["handler.lua:2:", "at load"]),
    ("return { serv = function() end }", ["serv"]),
    ("require 'not.there'", ["not.there"]),
])
def test_check_loads_the_scripts(zerg, text, words):
    done = zerg.command("check", files={"handler.lua": text, **zerg_lua(handler_source='"handler.lua"')})
    assert done.returncode == 1
    for word in words:
        assert word in done.stderr + done.stdout


def test_run_reports_like_check(zerg):
    done = zerg.command("run", files=zerg_lua('"80a"'))
    assert done.returncode == 1 and "listeners[1].port" in done.stderr


# ---- what may be wrong around it ----


@pytest.mark.parametrize("accept", ["acceptor", "reuseport"])
def test_a_port_in_use(zerg, accept):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = zerg.command("run", files={"zerg.lua": CONFIG.replace("return {", f'return {{ accept = "{accept}",')
                                          % (port, INLINE)})
    assert done.returncode == 1 and str(port) in done.stderr and "in use" in done.stderr


def test_no_configuration(zerg):
    done = zerg.command("run", "-c", "nowhere.lua")
    assert done.returncode == 1 and "nowhere.lua" in done.stderr


def test_a_missing_script(zerg):
    done = zerg.command("run", files=zerg_lua(handler_source='"handlers/absent.lua"'))
    assert done.returncode == 1 and "handlers/absent.lua" in done.stderr
    done = zerg.command("absent.lua")
    assert done.returncode == 1 and "absent.lua" in done.stderr


@pytest.mark.parametrize("flags", [[], ["-n"]])
def test_forbidden_io_uring_says_how_to_allow_it(zerg, flags):
    done = zerg.command("run", files=zerg_lua(free_port()), wrapper=[tool("without_uring"), *flags])
    assert done.returncode == 1
    assert "io_uring" in done.stderr and "seccomp" in done.stderr


def test_check_works_where_io_uring_is_forbidden(zerg):
    assert zerg.command("check", files=zerg_lua(), wrapper=[tool("without_uring")]).returncode == 0
    done = zerg.command("version", wrapper=[tool("without_uring")])
    assert done.returncode == 0 and "io_uring" in done.stdout + done.stderr


def test_a_log_file_that_cannot_be_written(zerg):
    files = {"zerg.lua": CONFIG.replace("return {", 'return { log = { file = "no/such/dir/zerg.log" },')
             % (free_port(), INLINE)}
    done = zerg.command("run", files=files)
    assert done.returncode == 1 and "no/such/dir/zerg.log" in done.stderr


def test_a_start_hook_that_fails_stops_the_start(zerg):
    files = {"handler.lua": 'return { start = function() error("cannot start") end, serve = function() end }',
             **zerg_lua(free_port(), '"handler.lua"')}
    done = zerg.command("run", files=files)
    assert done.returncode == 1 and "cannot start" in done.stderr
