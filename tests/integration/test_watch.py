"""`watch = true`: a change of a file that was loaded brings a reload, of any other none, and mistakes wait for their correction."""

import os

import pytest

from harness import free_port, merge
from luatext import ECHO, Lua, config, handler
from peer import dial, until

SAYS_MODULE = handler("conn:write(word)", top='local word = require("word")')


def say(word):
    return handler(f'conn:write("{word}")')


def said(server):
    with dial(server.targets[0]) as peer:
        return peer.rest().decode()


def becomes(server, word):
    until(lambda: said(server) == word, f"a server that says {word}, in\n{server.log.text()}")


def reloads(server):
    return len(server.log.find("watch: .* has changed: reloading"))


@pytest.fixture
def watching(zerg):
    """Starts a server that watches; `rewrite` of it writes another configuration for the same port."""

    def start(body='conn:write("one")', listeners=None, **options):
        port = free_port()

        def text(listener=None, **more):
            rows = [{"address": "127.0.0.1", "port": port, "handler": "handler.lua", **(listener or {})}]
            return config([*rows, *(listeners or [])], merge({"reactors": 1, "drain_timeout": 3, "watch": True}, more))

        server = zerg(body, config=text(), **options)
        server.targets[:] = [("127.0.0.1", port)]
        server.text = text
        server.write = server.directory.write
        return server.wait_listening()

    return start


def replace(server, name, text):
    """As most editors do."""
    server.write("saved.tmp", text)
    os.rename(server.path / "saved.tmp", server.path / name)


# ---- what brings a reload ----


@pytest.mark.parametrize("way", ["in place", "renamed", "deleted first"])
def test_a_handler_that_is_written(watching, way):
    server = watching()
    assert said(server) == "one"
    for word in ("two", "three"):
        if way == "renamed":
            replace(server, "handler.lua", say(word))
        else:
            if way == "deleted first":
                (server.path / "handler.lua").unlink()
            server.write("handler.lua", say(word))
        becomes(server, word)
    server.log.wait(r"watch: handler\.lua has changed: reloading")


@pytest.mark.parametrize("how", ['dofile("word.lua")', 'assert(loadfile("word.lua"))()'])
def test_a_file_that_a_handler_runs(watching, how):
    server = watching(None, files={"handler.lua": handler("conn:write(word)", top=f"local word = {how}"),
                                   "word.lua": 'return "one"'})
    assert said(server) == "one"
    server.write("word.lua", 'return "two"')
    becomes(server, "two")


def test_a_file_that_the_configuration_runs(watching):
    server = watching()
    server.write("word.lua", 'return "one"')
    server.write("zerg.lua", 'local word = dofile("word.lua")\n' + server.text(
        {"handler": Lua("function(conn) conn:write(word) end")}))
    becomes(server, "one")
    server.write("word.lua", 'return "two"')
    becomes(server, "two")


def test_a_module_that_a_handler_requires(watching):
    server = watching(None, files={"handler.lua": SAYS_MODULE, "word.lua": 'return "one"'})
    assert said(server) == "one"
    server.write("word.lua", 'return "two"')
    becomes(server, "two")
    replace(server, "word.lua", 'return "three"')
    becomes(server, "three")


def test_a_module_in_a_directory_of_lua_path(watching):
    server = watching(None, files={"handler.lua": SAYS_MODULE, "word.lua": 'return "one " .. require("lib.deep")',
                                          "lib/deep/init.lua": 'return "a"'})
    assert said(server) == "one a"
    server.write("lib/deep/init.lua", 'return "b"')
    becomes(server, "one b")


def test_the_configuration_itself_and_what_it_names_then(watching):
    server = watching()
    server.write("other.lua", say("other"))
    assert said(server) == "one"
    server.write("zerg.lua", server.text({"handler": "other.lua"}))
    becomes(server, "other")
    before = reloads(server)
    server.write("other.lua", say("changed"))
    becomes(server, "changed")
    assert reloads(server) > before
    before = reloads(server)
    server.write("handler.lua", say("nobody's any more"))
    server.write("other.lua", say("last"))
    becomes(server, "last")
    assert reloads(server) == before + 1


def test_an_http_handler_and_a_route(watching):
    web = 'local zerg = require "zerg"\nreturn function(req, res) res:send("%s") end\n'
    server = watching(files={"web.lua": web % "one"}, listeners=[
        {"address": "127.0.0.1", "port": free_port(), "protocol": "http", "routes": [{"path": "/", "handler": "web.lua"}]}])
    server.write("web.lua", web % "two")
    server.log.wait("version 2 is current")


def test_other_files_do_not(watching):
    server = watching(None, files={"handler.lua": SAYS_MODULE, "word.lua": 'return "one"'})
    assert said(server) == "one"
    for name in ("other.lua", "handler.lua~", ".handler.lua.swp", "4913", "handler.lua.bak"):
        server.write(name, say("no"))
    (server.path / "other.lua").unlink()
    server.write("word.lua", 'return "two"')  # which comes after all of these
    becomes(server, "two")
    assert reloads(server) == 1
    assert server.log.find("watch: .*word.lua has changed")


def test_a_log_in_the_same_directory_does_not(zerg):
    """Else a reload would bring the next one."""
    server = zerg('conn:write("one")', watch=True, log={"file": "out.log"}).wait_ready()
    assert said(server) == "one"
    server.directory.write("handler.lua", say("two"))
    becomes(server, "two")
    for _ in range(20):
        assert said(server) == "two"
    text = (server.path / "out.log").read_text()
    assert text.count("has changed: reloading") == 1, text


# ---- mistakes ----


def test_a_handler_that_is_broken_and_mended(watching):
    server = watching()
    server.write("handler.lua", "return function(")
    server.log.expect("reload: version 1 goes on: .*handler.lua:1")
    assert said(server) == "one"
    server.write("handler.lua", "error('still')")
    server.log.expect("reload: version 1 goes on: .*handler.lua:1: still")
    server.write("handler.lua", say("mended"))
    becomes(server, "mended")


def test_a_configuration_that_is_broken_and_mended(watching):
    server = watching()
    server.write("zerg.lua", "return {")
    server.log.expect("reload: version 1 goes on: .*zerg.lua:1")
    assert said(server) == "one"
    server.write("zerg.lua", server.text(script_memory_max="64m"))
    server.log.wait("version 2 is current")


@pytest.mark.parametrize("broken", ["return function(", "error('not yet')", "return { test = function() error('x') end }",
                                    None])
def test_a_file_that_only_the_new_configuration_names(watching, broken):
    """It is broken, or not there: mending it alone is enough."""
    server = watching()
    if broken:
        server.write("new/fresh.lua", broken)
    server.write("zerg.lua", server.text({"handler": "new/fresh.lua"}))
    server.log.expect("reload: version 1 goes on: .*new/fresh.lua")
    assert said(server) == "one"
    server.write("new/fresh.lua", say("mended"))
    becomes(server, "mended")


def test_a_module_that_only_a_broken_version_requires(watching):
    server = watching()
    server.write("helper.lua", "x x")
    server.write("handler.lua", handler('conn:write(word)', top='local word = require("helper")'))
    server.log.expect(r"reload: version 1 goes on: [\s\S]*helper\.lua:1")
    server.write("helper.lua", 'return "mended"')
    becomes(server, "mended")


def test_a_module_that_was_missing(watching):
    server = watching()
    server.write("handler.lua", handler('conn:write(word)', top='local word = require("helper")'))
    server.log.expect("reload: version 1 goes on: .*module 'helper' not found")
    server.write("helper.lua", 'return "there"')
    becomes(server, "there")


def test_a_start_hook_that_failed(watching):
    server = watching()
    server.write("handler.lua", "return { serve = function() end, start = function() error('no') end }")
    server.log.expect("no\n")
    server.log.expect("reload: version 1 goes on")
    server.write("handler.lua", say("mended"))
    becomes(server, "mended")


# ---- at other times ----


def test_an_edit_while_a_reload_is_under_way(watching):
    """A start hook takes its time, and meanwhile the next edit comes: it is not lost."""
    server = watching()
    slow = 'local zerg = require "zerg"\nreturn { start = function() zerg.log.info("starting") zerg.sleep(0.5) end, ' \
           'serve = function(conn) conn:write("slow") end }'
    server.write("handler.lua", slow)
    server.log.wait("starting")
    replace(server, "handler.lua", say("last"))
    becomes(server, "last")


def test_an_edit_while_scripts_are_being_loaded(watching):
    server = watching()
    server.write("handler.lua", 'require("zerg").log.info("loading") local f = io.open("go") '
                                'while not f do f = io.open("go") end f:close()\n' + say("slow"))
    server.log.wait("loading")
    replace(server, "handler.lua", say("last"))
    server.write("go", "")
    becomes(server, "last")


def test_it_is_switched_on_and_off_by_a_reload(watching, control):
    server = watching()
    client = control(server)
    server.write("zerg.lua", server.text(watch=False))
    server.log.wait("version 2 is current")
    server.write("handler.lua", say("unseen"))
    server.write("zerg.lua", server.text(watch=True))
    assert client.ask("status")[0]["versions"][-1]["number"] == 2
    assert said(server) == "one"
    before = reloads(server)
    assert client.ask("reload")[0]["ok"]
    assert said(server) == "unseen"
    server.write("handler.lua", say("seen"))
    becomes(server, "seen")
    assert reloads(server) == before + 1


def test_without_it_nothing_is_watched(zerg, control):
    server = zerg('conn:write("one")')
    client = control(server)
    assert said(server) == "one"
    server.directory.write("handler.lua", say("two"))
    assert not [file for file in server.open_files() if "inotify" in file]
    assert client.ask("reload")[0]["ok"]
    assert said(server) == "two"


def test_a_deployment_by_a_symbolic_link(zerg):
    """Versions side by side, and `current` points to one of them: moving it is one rename."""
    port = free_port()
    text = config([{"address": "127.0.0.1", "port": port, "handler": "handler.lua"}],
                  {"reactors": 1, "watch": True, "drain_timeout": 3})
    server = zerg(config="return {}", files={f"releases/{n}/{name}": content for n in (1, 2, 3) for name, content in (
        ("zerg.lua", text), ("handler.lua", say(f"release {n}")))}, args=["version"])
    server.wait_exit()
    server.check_at_end = False
    os.symlink("releases/1", server.path / "current")
    running = zerg(config=text, args=["run", "-c", str(server.path / "current/zerg.lua")])
    running.targets[:] = [("127.0.0.1", port)]
    running.wait_listening()
    assert said(running) == "release 1"
    for number in (2, 3):
        os.symlink(f"releases/{number}", server.path / "next")
        os.rename(server.path / "next", server.path / "current")
        becomes(running, f"release {number}")


def test_a_script_without_configuration_is_not_watched_and_one_that_drains_is_not_reloaded(zerg, control):
    server = zerg(ECHO, watch=True, drain_timeout=30)
    client = control(server)
    peer = server.connect().ask("x")
    client.send("stop\n").reply()
    server.directory.write("handler.lua", say("two"))
    peer.ask("y")
    assert not server.log.find("has changed: reloading")
    peer.close()
    assert server.wait_exit() == 0
