"""`zerg repl` against real servers, and against one that answers what the test wants: at a terminal, and with input from a
pipe."""

import fcntl
import json
import os
import pty
import select
import signal
import stat
import subprocess
import termios
import time

import pytest

from controls import lines
from harness import PROGRAM, environment
from luatext import ECHO
from peer import PATIENCE, until

UNFINISHED = lines({"ok": False, "error": "repl:1: 'end' expected near '<eof>'", "unfinished": True})


def result(*values, output=""):
    return lines({"ok": True, "output": output, "values": list(values)})


def code_of(request):
    """The code in a request line `eval N "..."`."""
    return json.loads(request.split(" ", 2)[2])


# ---- with a real server ----


def test_a_session_with_a_server(zerg, control):
    server = zerg(ECHO, reactors=2)
    control(server)
    text = "1 + 1\nx = 5\nx, nil\nprint('a', x)\nfor i = 1, 2 do\nprint(i)\nend\n{\n  a = 1\n}\n'\\255'\n"
    done = zerg.command("repl", "--control", server.control, text=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '2\n5\nnil\na\t5\n1\n2\n{ a = 1 }\n"\\255"\n'
    assert zerg.command("repl", "--control", server.control, text="x\n").stdout == "5\n"
    assert zerg.command("repl", "--reactor", 1, "--control", server.control, text="x\n").stdout == "nil\n"


def test_a_server_s_errors_go_to_stderr_and_the_session_goes_on(zerg, control):
    server = zerg(ECHO)
    control(server)
    done = zerg.command("repl", "--control", server.control, text="error('oops')\nx y\nrequire('zerg').sleep(1)\n7\n")
    assert (done.returncode, done.stdout) == (1, "7\n")
    first, *_ = done.stderr.split("\n")
    assert first == "repl:1: oops" and "stack traceback:" in done.stderr and "repl:1: '=' expected near 'y'" in done.stderr


@pytest.mark.parametrize("text", ["", "1\n2\n"])
def test_a_reactor_that_is_not_there_is_refused_at_once(zerg, control, text):
    server = zerg(ECHO)
    control(server)
    done = zerg.command("repl", "--reactor", 9, "--control", server.control, text=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and 'expected a reactor from 0 to 0, got "9"' in done.stderr


@pytest.mark.parametrize("code, error", [
    ('assert(load("x ="))', "unexpected symbol near '<eof>'"),
    ('error("near \'<eof>\'")', "repl:1: near '<eof>'"),
])
def test_an_error_that_only_speaks_of_an_early_end_is_shown_at_once(zerg, control, code, error):
    server = zerg(ECHO)
    control(server)
    done = zerg.command("repl", "--control", server.control, text=f"{code}\n7\n")
    assert (done.returncode, done.stdout) == (1, "7\n")
    assert error in done.stderr.split("\n")[0]


def test_what_load_says_of_an_early_end_is_a_value(zerg, control):
    server = zerg(ECHO)
    control(server)
    done = zerg.command("repl", "--control", server.control, text='return load("x =")\n7\n')
    first, second, last, _ = done.stdout.split("\n")
    assert (done.returncode, done.stderr, first, last) == (0, "", "nil", "7") and "near '<eof>'" in second


def test_a_server_that_ends_meanwhile(zerg, control, terminal):
    server = zerg(ECHO)
    control(server)
    session = terminal(server)
    session.wait("> ")
    session.type("6 * 7\n").wait("\n42\r\n").wait("> ")
    server.stop()
    session.type("1\n")
    assert session.end() == 1
    assert "zerg: the server at" in session.seen


ENDED = "repl: the code ran for more than 1 s and was ended"

SPINNER = """
function spin(n)
  local sum = 0
  for i = 1, n do sum = sum + i % 7 end
  return sum
end
for _ = 1, 10 do spin(1000) end
""" + ECHO


@pytest.mark.parametrize("code", [
    "while true do end",
    "x = 0 while true do x = x + 1 end",
    "while true do pcall(function() while true do end end) end",
    "while true do pcall(function() for _ = 1, 100 do pcall(tostring, 1) end end) end",
    "while true do coroutine.wrap(function() pcall(function() while true do end end) end)() end",
    "spin(1e15)",
    "setmetatable({}, { __tostring = function() while true do end end })",
])
def test_code_that_would_hold_a_reactor_is_ended(zerg, control, code):
    server = zerg(SPINNER)
    control(server)
    server.connect().ask(b"spin is compiled\n")
    begin = time.monotonic()
    done = zerg.command("repl", "--control", server.control, text=f"{code}\n7\n")
    assert 1 <= time.monotonic() - begin < PATIENCE
    assert (done.returncode, done.stdout) == (1, "7\n")
    assert done.stderr.startswith(f"{ENDED}\nstack traceback:") and "repl" in done.stderr.split("traceback:")[1]
    server.connect().ask(b"on it goes\n")


def test_code_that_would_take_all_memory_is_ended(zerg, control):
    """By the one limit or the other: the error of the heap's may come where no pcall() is."""
    server = zerg(SPINNER)
    control(server)
    code = "local t = {} while true do pcall(function() while true do t[#t + 1] = ('x'):rep(1e5 + #t) end end) end"
    done = zerg.command("repl", "--control", server.control, text=f"{code}\n7\n")
    assert (done.returncode, done.stdout) == (1, "7\n")
    assert done.stderr.startswith((ENDED, "not enough memory"))
    server.connect().ask(b"on it goes\n")


def test_scripts_are_compiled_again_after_an_evaluation(zerg, control):
    server = zerg(SPINNER)
    control(server)
    text = "(jit.status())\nlocal task = zerg.spawn(function() is_on = jit.status() end)\nis_on\n"
    assert zerg.command("repl", "--control", server.control, text=text).stdout == "false\ntrue\n"


def test_what_a_task_prints_later_goes_to_the_log(zerg, control):
    server = zerg(ECHO)
    control(server)
    text = "print('now') zerg.spawn(function() print('soon') zerg.sleep(.05) print('LATE', 1) end)\n"
    assert "LATE" not in zerg.command("repl", "--control", server.control, text=text).stdout
    until(lambda: "LATE\t1" in server.log.text(), "the log entry")


# ---- from a pipe ----


def test_lines_from_a_pipe_are_evaluated_one_by_one(fake_control):
    server = fake_control(result("2"), result(), result("nil", '"x"', output="printed\n"))
    done = server.command("repl", text="1 + 1\n\n   \nlocal x = \"a b\"\nf()")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2\nprinted\nnil\n\"x\"\n"
    assert server.requests == ['eval 0 "1 + 1"', 'eval 0 "local x = \\"a b\\""', "eval 0 f()"]


def test_the_reactor_is_chosen(fake_control):
    server = fake_control(result(), result("1"))
    assert server.command("repl", "--reactor", "3", text="zerg.reactor\n").returncode == 0
    assert server.requests == ['eval 3 ""', "eval 3 zerg.reactor"]


def test_an_unfinished_chunk_goes_on_in_the_next_line(fake_control):
    server = fake_control(UNFINISHED, UNFINISHED, result(output="1\n2\n"), result("3"))
    done = server.command("repl", text="for i = 1, 2 do\n  print(i)\nend\n3\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n2\n3\n", "")
    assert [code_of(request) if '"' in request else request for request in server.requests] == [
        "for i = 1, 2 do", "for i = 1, 2 do\n  print(i)", "for i = 1, 2 do\n  print(i)\nend", "eval 0 3"]


def test_an_error_is_shown_and_the_next_chunk_is_evaluated(fake_control):
    traceback = "repl:1: oops\nstack traceback:\n\tnear '<eof>'"
    server = fake_control(lines({"ok": False, "error": traceback}),
                          lines({"ok": False, "error": "repl:1: '<eof>' expected near 'end'"}), result("1"))
    done = server.command("repl", text="error('oops')\nend\n1\n")
    assert done.returncode == 1 and done.stdout == "1\n"
    assert done.stderr == f"{traceback}\nrepl:1: '<eof>' expected near 'end'\n"


def test_a_chunk_that_is_never_finished_is_an_error(fake_control):
    done = fake_control(UNFINISHED).command("repl", text="do\n")
    assert done.returncode == 1 and done.stderr == "repl:1: 'end' expected near '<eof>'\n"


def test_a_chunk_that_is_too_long_or_no_text_is_refused_here(fake_control):
    server = fake_control(result("1"))
    done = server.command("repl", text="x" * 70_000 + "\n1\n")
    assert done.returncode == 1 and "a server takes at most 65536" in done.stderr and done.stdout == "1\n"


def test_a_server_that_goes_away_ends_it(fake_control):
    server = fake_control(result("1"))
    server.hangs_up = True
    done = server.command("repl", text="1\n2\n3\n")
    assert done.returncode == 1 and done.stdout == "1\n"
    assert done.stderr == f"zerg: the server at {server.path} has gone without an answer\n"


def test_without_a_server(zerg):
    done = zerg.command("repl", "--control", "absent.sock", text="1\n")
    assert done.returncode == 1 and "no server answers at absent.sock" in done.stderr


# ---- at a terminal ----


class Terminal:
    """The program with a terminal of its own; `state` is where its history goes."""

    def __init__(self, path, state):
        self.master, slave = pty.openpty()
        env = environment({"TERM": "dumb", "XDG_STATE_HOME": str(state)})
        self.process = subprocess.Popen([PROGRAM, "repl", "--control", path], stdin=slave, stdout=slave,
                                        stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = ""

    def type(self, text):
        """Once the line editor listens: before that, the kernel takes control characters for its own."""
        until(lambda: not termios.tcgetattr(self.master)[3] & termios.ICANON, "the line editor")
        os.write(self.master, text.encode())
        return self

    def wait(self, text):
        """Reads until `text` comes; what comes before it is forgotten."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    assert text in self.seen, f"ended without {text!r}: {self.seen!r}"
        self.seen = self.seen.split(text, 1)[1]
        return self

    def end(self):
        """The exit status; what it still had to say is in `seen`."""
        def gone():
            has_ended = self.process.poll() is not None  # first: all that it said is there to be read then
            while select.select([self.master], [], [], 0)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    break
            return has_ended

        until(gone, "the end of the program")
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(zerg):
    made = []
    state = zerg.directory().path / "state"

    def start(server):
        made.append(Terminal(getattr(server, "control", server.path), state))
        made[-1].state = state
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_a_terminal_gets_prompts_and_control_d_ends(fake_control, terminal):
    server = fake_control(result("2"), UNFINISHED, result('"both"'), lines({"ok": False, "error": "repl:1: oops"}))
    session = terminal(server)
    session.wait(f"Lua in reactor 0 of the server at {server.path}; Control-D ends.").wait("> ")
    session.type("1 + 1\n").wait("\n2\r\n").wait("> ")
    session.type("do\n").wait(">> ")
    session.type("end\n").wait('\n"both"\r\n').wait("> ")
    session.type("error()\n").wait("\nrepl:1: oops\r\n").wait("> ")
    session.type("\x04")
    assert session.end() == 0
    assert [request.split(" ", 1)[1] for request in server.requests] == ['0 "1 + 1"', "0 do", '0 "do\\nend"', "0 error()"]


def test_control_d_gives_an_unfinished_chunk_up(fake_control, terminal):
    server = fake_control(UNFINISHED, result("1"))
    session = terminal(server)
    session.wait("> ").type("do\n").wait(">> ")
    session.type("\x04").wait("> ").type("1\n").wait("\n1\r\n").wait("> ")
    session.type("\x04")
    assert session.end() == 0
    assert server.requests == ["eval 0 do", "eval 0 1"]


def test_lines_can_be_edited_and_are_remembered(fake_control, terminal):
    server = fake_control(result("3"), result("3"), result("4"))
    session = terminal(server)
    session.wait("> ").type("2\x7f1 + 2\n").wait("\n3\r\n").wait("> ")
    history = session.state / "zerg" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700
    session.type("\x04")
    assert session.end() == 0
    session = terminal(server)
    session.wait("> ").type("\x10\n").wait("\n3\r\n").wait("> ")  # Control-P: the line before
    session.type("\x10\x7f3\n").wait("\n4\r\n").wait("> ")
    session.type("\x04")
    assert session.end() == 0
    assert server.requests == ['eval 0 "1 + 2"', 'eval 0 "1 + 2"', 'eval 0 "1 + 3"']


def test_the_history_is_bounded(fake_control, terminal):
    session = terminal(fake_control(result()))
    (session.state / "zerg").mkdir(parents=True, exist_ok=True)
    session.wait("> ").type("\x04")
    session.end()
    (session.state / "zerg" / "history").write_text("_HiStOrY_V2_\n" + "".join(f"line{n}\n" for n in range(3000)))
    session = terminal(fake_control(result()))
    session.wait("> ").type("last\n").wait("> ").type("\x04")
    assert session.end() == 0
    remembered = (session.state / "zerg" / "history").read_text().splitlines()
    assert len(remembered) <= 1001 and remembered[-1] == "last"


def test_a_server_that_goes_away_at_a_terminal(fake_control, terminal):
    server = fake_control(result("1"))
    server.hangs_up = True
    session = terminal(server)
    session.wait("> ").type("1\n").wait("\n1\r\n").wait("> ")
    session.type("2\n").wait("has gone")
    assert session.end() == 1


def test_control_c_drops_what_is_typed(fake_control, terminal):
    server = fake_control(UNFINISHED, result("1"), result("2"))
    session = terminal(server)
    session.wait("> ").type("dropped").wait("dropped")
    session.type("\x03").wait("> ").type("do\n").wait(">> ")
    session.type("also dropped\x03").wait("\n> ").type("1\n").wait("\n1\r\n").wait("> ")
    session.type("\x03").wait("> ").type("2\n").wait("\n2\r\n").wait("> ")
    session.type("\x04")
    assert session.end() == 0
    assert server.requests == ["eval 0 do", "eval 0 1", "eval 0 2"]
    assert termios.tcgetattr(session.master)[6][termios.VINTR] == b"\x03"


def test_control_c_ends_a_wait_for_the_server(zerg, control, terminal):
    server = zerg(ECHO)
    control(server)
    session = terminal(server)
    session.wait("> ").type("while true do end\n")
    until(lambda: termios.tcgetattr(session.master)[3] & termios.ICANON, "the end of editing")
    os.write(session.master, b"\x03")
    assert session.end() == -signal.SIGINT
    server.connect().ask(b"on it goes\n")
