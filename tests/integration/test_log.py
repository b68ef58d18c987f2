"""The log: levels, formats, its file, and opening it anew."""

import json
import os
import pwd
import re
import signal

import pytest

from luatext import handler
from peer import until

SAY = """
for data in conn:reads() do
  zerg.log.info("info %s %d", tostring(data), 42)
  zerg.log.debug("not shown at this level")
  print("printed", 1, nil)
  conn:write("ok")
end
"""


def test_text_lines(zerg):
    server = zerg(SAY)
    server.connect().ask("word", "ok")
    line = server.log.wait("info word 42")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  ", line)
    server.log.wait(r"printed\s+1\s+nil")
    assert not server.log.find("not shown")


def test_debug_level_shows_more(zerg):
    server = zerg(SAY, log={"level": "debug"})
    server.connect().ask("word", "ok")
    server.log.wait("not shown at this level")


def test_error_level_hides_the_rest(zerg):
    server = zerg(SAY, log={"level": "error"})
    server.connect().ask("word", "ok")
    assert not server.log.find("word")


def test_warnings_and_errors_of_a_script(zerg):
    server = zerg('zerg.log.warn("careful %d", 1) zerg.log.error("bad %s", "thing") conn:write("ok")')
    server.connect().expect("ok")
    assert " warn " in server.log.expect("careful 1")
    assert " error " in server.log.expect("bad thing")


def test_log_calls_with_what_is_not_a_format(zerg):
    """A single argument is the message itself; control bytes cannot forge a second entry."""
    server = zerg("""
        zerg.log.info("100%")
        zerg.log.info("two\\nlines")
        zerg.log.info("%s", "2026-01-01T00:00:00.000Z error forged\\n2026-01-01T00:00:00.000Z error forged")
        conn:write("ok")
    """)
    server.connect().expect("ok")
    server.log.wait("100%")
    server.log.wait(r"two\s+lines")


def test_json_lines(zerg):
    server = zerg("""
        zerg.log.info('quote " and newline \\n and %s', "\\1")
        conn:wait()
        error("told to")
    """, log={"format": "json"})
    server.connect().send("x").expect_end()
    server.log.expect("told to")
    entries = [json.loads(line) for line in server.log.text().splitlines()]
    assert all({"level"} <= entry.keys() for entry in entries)
    failure = [entry for entry in entries if entry["level"] == "error"]
    assert len(failure) == 1 and "traceback" in json.dumps(failure[0])


def test_a_file_of_its_own_is_opened_anew_on_usr1(zerg):
    server = zerg(SAY, log={"file": "zerg.log"})
    server.connect().ask("before", "ok")
    current, rotated = server.path / "zerg.log", server.path / "zerg.log.1"
    until(lambda: current.exists() and "info before" in current.read_text(), "the first entry")
    current.rename(rotated)
    server.send_signal(signal.SIGUSR1)
    until(current.exists, "the new file")
    server.connect().ask("after", "ok")
    until(lambda: "info after" in current.read_text(), "the second entry")
    assert "after" not in rotated.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_that_root_made_can_be_opened_anew_by_user(zerg):
    server = zerg(SAY, user="nobody", log={"file": "zerg.log"})
    server.connect().ask("x", "ok")
    log = server.path / "zerg.log"
    assert log.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    server.send_signal(signal.SIGUSR1)
    until(lambda: "USR1: log file reopened" in log.read_text(), log.read_text())


@pytest.mark.threads
def test_entries_of_two_reactors_never_mix(zerg):
    server = zerg(files={"handler.lua": handler("""
        conn:wait()
        for i = 1, 300 do zerg.log.info("%s", string.rep(tostring(zerg.reactor), 200) .. ".") end
        conn:write("ok")
    """)}, reactors=2)
    peers = server.connect_many(4)
    for peer in peers:
        peer.send("go")
    for peer in peers:
        peer.expect("ok")
    found = re.findall(r"[01]{30,}\.?", server.log.text())
    assert len(found) == 1200 and set(found) == {"0" * 200 + ".", "1" * 200 + "."}
