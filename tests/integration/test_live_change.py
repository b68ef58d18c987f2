"""Live change as a whole, under load: what the server promises while code, configuration and program change beneath open
connections. How fast it stays is measured by tests/bench/live."""

import random
import re
import signal
import subprocess
import threading

import pytest

from controls import Control
from peer import PATIENCE, dial, until

pytestmark = pytest.mark.heavy

ECHO = "return function(conn) for data in conn:reads() do conn:write(data) end end"
ANSWER = 'return function(req, res) res:send(("%d\\n"):rep(20)) end'
BROKEN = ["return function(conn) for", 'error("broken")', "return { serve = print, strat = print }",
          'return { serve = print, test = function() error("no") end }']


class Talkers:
    """Raw connections in conversation: each says something of any length and wants exactly that back, again and again."""

    def __init__(self, server, count):
        self.peers = [dial(server.targets[0]) for _ in range(count)]
        self.rounds = 0
        self.problem = None
        self.random = random.Random(count)
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.talk, daemon=True)
        self.thread.start()

    def talk(self):
        try:
            while not self.is_over.is_set():
                self.round()
        except Exception as error:  # pylint: disable=broad-except # it is told in the test's thread
            self.problem = error

    def round(self):
        said = [self.random.randbytes(self.random.randrange(1, 3000)) for _ in self.peers]
        for peer, data in zip(self.peers, said):
            peer.send(data)
        for peer, data in zip(self.peers, said):
            assert peer.receive(len(data)) == data
        self.rounds += 1

    def stop(self):
        self.is_over.set()
        self.thread.join(PATIENCE)
        if self.problem:
            raise self.problem
        for peer in self.peers:
            peer.expect_silence(0)
            peer.close()
        return self.rounds


class Load:
    """wrk, with as many requests as the server can answer."""

    def __init__(self, port):
        url = f"http://127.0.0.1:{port}/"
        self.process = subprocess.Popen(["wrk", "-t1", "-c50", "-d2m", url], stdout=subprocess.PIPE, text=True)

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        """How many requests were answered, all of them well."""
        self.process.send_signal(signal.SIGINT) # it ends as if its time were up
        out, _ = self.process.communicate(timeout=PATIENCE)
        assert "Socket errors" not in out and "Non-2xx" not in out, out
        return int(re.search(r"(\d+) requests in", out)[1])


def start(zerg, **options):
    server = zerg(files={"echo.lua": ECHO, "web.lua": ANSWER % 0}, listeners=[
        {"address": "127.0.0.1", "handler": "echo.lua"},
        {"address": "127.0.0.1", "handler": "web.lua", "protocol": "http"}], drain_timeout=60, **options)
    return server.wait_listening()


def reload(server, is_good=True):
    reply, _ = Control(server.control).ask("reload")
    assert reply["ok"] is is_good, reply
    return reply


def versions(server):
    return Control(server.control).ask("status")[0]["versions"]


@pytest.mark.parametrize("options", [{"reactors": 1}, {"reactors": 2, "accept": "reuseport"}, {"reactors": 2}],
                         ids=["one", "reuseport", "acceptor"])
def test_two_hundred_reloads_under_full_load(zerg, options):
    server = start(zerg, **options)
    server.log.allow("reload: version .* goes on: ")
    number = reload(server)["version"]
    talkers = Talkers(server, 100)
    load = Load(server.targets[1][1])
    done = 0
    while done < 200 and load.is_running():
        done += 1
        if done % 10 == 0:
            server.directory.write("echo.lua", BROKEN[done // 10 % len(BROKEN)])
            assert "echo.lua" in reload(server, is_good=False)["error"]
            server.directory.write("echo.lua", ECHO)
        else:
            server.directory.write("web.lua", ANSWER % done)
            before, number = number, reload(server)["version"]
            assert number > before, "no number is given twice"
    assert done == 200, f"{done} reloads in two minutes"
    assert load.stop() > 1000
    assert talkers.stop() > 10
    until(lambda: len(versions(server)) == 1, "one version is left")
    assert versions(server)[0]["number"] == number


# ---- chat ----

CHAT = """
-- version %d
local members = {}

local function talk(conn, name)
  members[name] = conn
  conn.ctx.name = name
  for line in conn:stream():lines() do
    for _, member in pairs(members) do
      member:write(line, "\\n")
    end
  end
  members[name] = nil
end

return {
  serve = function(conn, name)
    if not name then
      name = conn:stream():read()
      conn:write("welcome\\n")
    end
    talk(conn, name)
  end,
  migrate = function(conn)
    return conn.ctx.name
  end,
}
"""


def test_a_thousand_chat_clients_migrate_through_twenty_versions(zerg):
    """Everybody hears every line of everybody, once, and those of each speaker in their order."""
    server = zerg(files={"chat.lua": CHAT % 1}, listeners=[{"address": "127.0.0.1", "handler": "chat.lua"}],
                  drain_timeout=60).wait_listening()
    peers = [server.connect() for _ in range(1000)]
    for name, peer in enumerate(peers):
        peer.send(f"{name}\n").expect("welcome\n")
    spoken = [0] * len(peers)
    chooser = random.Random(7)

    def speak(count):
        for _ in range(count):
            name = chooser.randrange(len(peers))
            peers[name].send(f"{name} {spoken[name]}\n")
            spoken[name] += 1

    for version in range(2, 22):
        speak(5)
        server.directory.write("chat.lua", CHAT % version)
        reload(server)
        speak(5)
    total = sum(spoken)
    for peer in peers:
        heard = {}
        for line in [peer.line() for _ in range(total)]:
            name, number = map(int, line.split())
            assert number == heard.get(name, 0), "once, and in order"
            heard[name] = number + 1
        assert sum(heard.values()) == total
        peer.expect_silence(0)
    until(lambda: len(versions(server)) == 1, "one version is left")
    assert versions(server)[0] | {"age": 0, "memory": 0} == {
        "number": 21, "state": "current", "age": 0, "connections": 1000, "memory": 0}


# ---- upgrade ----


def clients(server):
    return Control(server.control).ask("status")[0]["listeners"][1]["connections"]


def test_ten_upgrades_under_load(zerg):
    server = start(zerg)
    load = Load(server.targets[1][1])
    pids = {server.pid}
    for _ in range(10):
        assert load.is_running()
        reply, _ = Control(server.control).ask("upgrade")
        assert reply["ok"], reply
        pids.add(reply["pid"])
        until(lambda: clients(server) >= 50, "the clients have all come to the new process")
    assert len(pids) == 11
    assert load.stop() > 1000
    assert Control(server.control).ask("stop")[0]["ok"]
    server.reactors = 11
    assert server.wait_exit() == 0
    until(lambda: server.log.text().count("zerg has stopped") == 11, "every process has ended in order")
    server.check_log()
