"""Every program in examples/, as its opening comment says to start it, driven by a real client."""

import json
import re
import struct
import subprocess
import sys

import pytest

from controls import Control
from harness import REPOSITORY, Server, free_port
from peer import PATIENCE, pattern

EXAMPLES = REPOSITORY / "examples"


def start_example(zerg, name, *args, **kwargs):
    """Runs `zerg examples/NAME -p PORT`, ended and checked with the test."""
    port = free_port()
    arguments = [str(EXAMPLES / name), "-p", str(port), *args]
    server = Server(zerg.directory(), arguments, [("127.0.0.1", port)], **kwargs)
    zerg.servers.append(server)
    return server.wait_ready()


def text_with_targets(name, targets):
    """An example that connects to others: `targets` are what stands in it → what shall stand there."""
    text = (EXAMPLES / name).read_text()
    for old, new in targets.items():
        assert f'"{old}"' in text, f"{name} does not mention {old}"
        text = text.replace(f'"{old}"', f'"{new}"')
    return text


def start_with_targets(zerg, name, targets, *args, **kwargs):
    """Runs it."""
    port = free_port()
    directory = zerg.directory({name: text_with_targets(name, targets)})
    for folder in EXAMPLES.glob("*/"):
        (directory.path / folder.name).symlink_to(folder)
    server = Server(directory, [name, "-p", str(port), *args], [("127.0.0.1", port)], **kwargs)
    zerg.servers.append(server)
    return server.wait_listening()


def netcat(server, text, *options):
    """What nc prints after sending text and half-closing."""
    done = subprocess.run(["nc", "-N", *options, "127.0.0.1", str(server.port)], input=text, capture_output=True,
                          timeout=PATIENCE, check=True)
    return done.stdout


def send_in_bytes(peer, data):
    for at in range(len(data)):
        peer.send(data[at : at + 1])


# ---- the five ways to read, and echo ----


def test_echo_answers_netcat(zerg):
    server = start_example(zerg, "echo.lua")
    assert netcat(server, b"hello\n") == b"hello\n"
    data = pattern(300_000)
    assert netcat(server, data) == data


def test_views_turns_letters_by_13_places(zerg):
    server = start_example(zerg, "views.lua")
    assert netcat(server, b"Hello, World 123\n") == b"Uryyb, Jbeyq 123\n"
    data = bytes(range(256))
    once = server.connect().send(data).receive(256)
    assert once != data
    assert server.connect().send(once).receive(256) == data


def test_views_takes_pieces_larger_than_a_reserve(zerg):
    server = start_example(zerg, "views.lua")
    peer = server.connect()
    sender = peer.send_in_background(b"Nn" * 500_000)
    assert peer.receive(1_000_000) == b"Aa" * 500_000
    sender.join()


def test_sequence_numbers_lines_wherever_they_are_cut(zerg):
    server = start_example(zerg, "sequence.lua")
    assert netcat(server, b"one\n\nthree") == b"1\tone\n2\t\n3\tthree"
    peer = server.connect()
    send_in_bytes(peer, b"ab\nc\n")
    assert peer.half_close().rest() == b"1\tab\n2\tc\n"


def test_sequence_numbers_lines_across_buffers(zerg):
    server = start_example(zerg, "sequence.lua")
    lines = [b"x" * (n % 5000) for n in range(0, 200_000, 499)]
    peer = server.connect()
    sender = peer.send_in_background(b"".join(line + b"\n" for line in lines))
    expected = b"".join(b"%d\t%s\n" % (n + 1, line) for n, line in enumerate(lines))
    assert peer.receive(len(expected)) == expected
    sender.join()


def test_reader_answers_lines_with_their_words_reversed(zerg):
    server = start_example(zerg, "reader.lua")
    assert netcat(server, b"the quick brown fox\r\n\nlast\n") == b"19 fox brown quick the\n0 \n4 last\n"
    peer = server.connect()
    send_in_bytes(peer, b"to be\nor not\n")
    peer.expect("5 be to\n6 not or\n")


def test_reader_refuses_a_line_without_end(zerg):
    server = start_example(zerg, "reader.lua")
    peer = server.connect().send("fine\n" + "x" * 5000)
    peer.expect("4 fine\nline too long\n").expect_end()


def test_stream_keeps_notes_of_any_bytes(zerg):
    server = start_example(zerg, "stream.lua", "--reactors", "1")
    assert netcat(server, b"put list 12\nmilk, bread\nget list\n") == b"ok\n12\nmilk, bread\n\n"
    peer = server.connect()
    send_in_bytes(peer, b"put a 3\n\n\x00\nget a\r\n")
    peer.expect(b"ok\n3\n\n\x00\n\n")
    peer.ask("list\n", "a list\n")


def test_stream_says_what_it_does_not_understand(zerg):
    server = start_example(zerg, "stream.lua")
    peer = server.connect()
    assert peer.ask_line("dance") == "error: unknown command"
    assert peer.ask_line("put") == "error: put NAME SIZE"
    assert peer.ask_line("put x 99999999") == "error: put NAME SIZE"
    assert peer.ask_line("get nothing") == "error: no such note"
    peer.send("quit\n").expect_end()


def test_sqpoll_runs_with_a_kernel_thread_that_submits(zerg):
    port = free_port()
    server = Server(zerg.directory(), ["run", "-c", str(EXAMPLES / "sqpoll" / "zerg.lua")], [("127.0.0.1", port)],
                    env={"PORT": str(port)}, reactors=1)
    zerg.servers.append(server)
    peer = server.connect()
    assert peer.ask_line("hello") == "sqpoll 1: hello"
    assert peer.ask_line("again") == "sqpoll 2: again"
    assert any(name.startswith("iou-sqp") for name in server.threads().values()), server.threads()


# ---- chat ----


def join(server, name, **options):
    peer = server.connect(**options)
    assert peer.line() == "Your name?"
    assert peer.ask_line(name) == f"Welcome, {name}. /who lists who is here, /quit leaves."
    return peer


def start_chat(zerg):
    return start_example(zerg, "chat.lua", "--reactors", "1")


def test_chat_passes_lines_on_to_the_others(zerg):
    server = start_chat(zerg)
    ann, bob = join(server, "ann"), join(server, "bob")
    assert ann.line() == "* bob joined"
    cem = join(server, "cem")
    assert ann.line() == bob.line() == "* cem joined"
    ann.send("hello all\r\n")
    assert bob.line() == cem.line() == "ann: hello all"
    assert cem.ask_line("/who") == "* here: ann, bob, cem"
    bob.send("/quit\n").expect_end()
    assert ann.line() == cem.line() == "* bob left"
    cem.reset()
    assert ann.line() == "* cem left"
    ann.expect_silence(0.05)


def test_chat_asks_until_a_name_is_free_and_fit(zerg):
    server = start_chat(zerg)
    join(server, "ann")
    peer = server.connect()
    assert peer.line() == "Your name?"
    assert peer.ask_line("ann") == "There is a ann already. Your name?"
    assert peer.ask_line("a b") == "Up to 20 letters and digits, please. Your name?"
    assert peer.ask_line("") == "Up to 20 letters and digits, please. Your name?"
    assert peer.ask_line("bob").startswith("Welcome, bob.")


def test_chat_gives_a_name_back_when_its_owner_leaves(zerg):
    server = start_chat(zerg)
    ann = join(server, "ann")
    join(server, "bob").close()
    assert ann.line() == "* bob joined"
    assert ann.line() == "* bob left"
    join(server, "bob")
    assert ann.line() == "* bob joined"


def test_chat_shows_a_door_to_lines_without_end(zerg):
    server = start_chat(zerg)
    ann = join(server, "ann")
    bob = join(server, "bob")
    assert ann.line() == "* bob joined"
    bob.send("x" * 3000)
    assert ann.line() == "* bob left"


def test_chat_goes_on_with_the_next_version_of_its_file(zerg):
    port = free_port()
    text = (EXAMPLES / "chat.lua").read_text()
    directory = zerg.directory({"chat.lua": text})
    server = Server(directory, ["chat.lua", "-p", str(port), "--reactors", "1"], [("127.0.0.1", port)])
    zerg.servers.append(server)
    server.wait_listening()
    ann, bob = join(server, "ann"), join(server, "bob")
    assert ann.line() == "* bob joined"
    newcomer = server.connect()
    assert newcomer.line() == "Your name?"
    ann.send("hel")
    directory.write("chat.lua", text.replace('client.name .. ": "', 'client.name .. " says "'))
    assert Control(server.control).ask("reload")[0]["ok"]
    ann.send("lo\n")
    assert bob.line() == "ann says hello"
    assert bob.ask_line("/who") == "* here: ann, bob"
    assert newcomer.ask_line("cem") == "Welcome, cem. /who lists who is here, /quit leaves."
    assert ann.line() == bob.line() == "* cem joined"
    bob.send("/quit\n").expect_end()
    assert ann.line() == "* bob left"


def test_chat_does_not_wait_for_a_client_that_does_not_read(zerg):
    server = start_chat(zerg)
    listener = join(server, "listener")
    slow = join(server, "slow", receive_buffer=4096)
    speaker = join(server, "speaker")
    assert [listener.line(), listener.line()] == ["* slow joined", "* speaker joined"]
    count = 12_000
    sender = speaker.send_in_background(b"".join(b"%06d %s\n" % (n, b"x" * 1000) for n in range(count)))
    received = b""
    while received.count(b"speaker: ") < count or not received.endswith(b"\n"):
        part = listener.sock.recv(1 << 20)
        assert part
        received += part
    sender.join()
    numbers = [int(n) for n in re.findall(rb"^speaker: (\d{6})", received, re.M)]
    assert numbers == list(range(count)), "the listener got every line, in order"
    assert received.count(b"* slow left\n") == 1
    server.log.wait("slow does not read, sent away")
    slow.expect_reset()


# ---- binary ----

ECHO, UPPER, SUM = 1, 2, 3
FINE, UNKNOWN_OPERATION, BAD_PAYLOAD, TOO_LONG = 0, 1, 2, 3


def frame(operation, payload):
    return struct.pack(">IB", 1 + len(payload), operation) + payload


def ask(peer, operation, payload):
    peer.send(frame(operation, payload))
    return take_answer(peer)


def take_answer(peer):
    length, status = struct.unpack(">IB", peer.receive(5))
    return status, peer.receive(length - 1)


def test_binary_does_its_operations(zerg):
    peer = start_example(zerg, "binary.lua").connect()
    assert ask(peer, ECHO, b"as it is") == (FINE, b"as it is")
    assert ask(peer, ECHO, b"") == (FINE, b"")
    assert ask(peer, UPPER, b"loud\xff") == (FINE, b"LOUD\xff")
    assert ask(peer, UPPER, b"") == (FINE, b"")


@pytest.mark.parametrize("numbers", [[], [1], [1, 2, -10], [2**31 - 1] * 5, [-(2**31)] * 1000, [0, -1]])
def test_binary_sums_numbers(zerg, numbers):
    peer = start_example(zerg, "binary.lua").connect()
    payload = struct.pack(f">{len(numbers)}i", *numbers)
    assert ask(peer, SUM, payload) == (FINE, struct.pack(">q", sum(numbers)))


def test_binary_answers_errors_and_goes_on(zerg):
    peer = start_example(zerg, "binary.lua").connect()
    assert ask(peer, 77, b"whatever") == (UNKNOWN_OPERATION, b"there is no operation 77")
    assert ask(peer, SUM, b"12345") == (BAD_PAYLOAD, b"a sum takes numbers of 4 bytes")
    assert ask(peer, ECHO, b"still here") == (FINE, b"still here")


@pytest.mark.parametrize("length", [0, 1024 * 1024 + 1, 2**32 - 1])
def test_binary_ends_with_a_length_out_of_bounds(zerg, length):
    peer = start_example(zerg, "binary.lua").connect()
    peer.send(struct.pack(">IB", length, ECHO))
    assert take_answer(peer) == (TOO_LONG, b"a request has 1 to 1048576 bytes")


def test_binary_frames_may_be_cut_anywhere(zerg):
    peer = start_example(zerg, "binary.lua").connect()
    send_in_bytes(peer, frame(UPPER, b"one") + frame(SUM, struct.pack(">2i", 3, 4)) + frame(99, b"zz"))
    assert take_answer(peer) == (FINE, b"ONE")
    assert take_answer(peer) == (FINE, struct.pack(">q", 7))
    assert take_answer(peer)[0] == UNKNOWN_OPERATION


def test_binary_takes_the_longest_frame_and_pipelines(zerg):
    peer = start_example(zerg, "binary.lua").connect()
    payload = pattern(1024 * 1024 - 1)
    sender = peer.send_in_background(frame(ECHO, payload) * 3 + frame(ECHO, b"end"))
    for _ in range(3):
        assert take_answer(peer) == (FINE, payload)
    assert take_answer(peer) == (FINE, b"end")
    sender.join()


def test_binary_client_in_the_opening_comment_works(zerg):
    server = start_example(zerg, "binary.lua")
    comment = re.findall(r"^--     (.*)$", (EXAMPLES / "binary.lua").read_text(), re.M)
    program = "\n".join(comment[comment.index("import socket, struct") :]).replace("8080", str(server.port))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "0 (-7,)\n"


# ---- the README ----


def test_every_example_is_in_the_readme():
    text = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.glob("*.lua"):
        assert f"[{path.name}]({path.name})" in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (EXAMPLES / link).exists(), link


def readme_rows():
    """(example, command line) of the README's table, for what a shell can run to its end."""
    for line in (EXAMPLES / "README.md").read_text().splitlines():
        match = re.match(r"\| \[(\S+?)\].*\| `((?:echo|printf) .*)` \|$", line)
        if match:
            yield match[1], match[2].replace("\\|", "|")


@pytest.mark.parametrize("example, command", [row for row in readme_rows() if row[0].endswith(".lua")])
def test_readme_command_lines_work(zerg, example, command):
    server = start_example(zerg, example)
    done = subprocess.run(["bash", "-c", command.replace("8080", str(server.port))], capture_output=True, text=True,
                          timeout=PATIENCE, check=True)
    expected = {
        "echo.lua": "hello\n",
        "views.lua": "Uryyb, Jbeyq\n",
        "sequence.lua": "1\tone\n2\ttwo\n",
        "reader.lua": "19 fox brown quick the\n",
        "stream.lua": "ok\n4\nmilk\n",
    }
    assert done.stdout == expected[example]


# ---- HTTP ----


def curl(server, path, *args):
    done = subprocess.run(["curl", "-sS", "--max-time", "10", *args, f"http://127.0.0.1:{server.port}{path}"],
                          capture_output=True, text=True, check=True)
    return done.stdout


def test_http_keeps_notes(zerg):
    server = start_example(zerg, "http.lua", "--http", "--reactors", "1")
    made = json.loads(curl(server, "/notes", "-d", '{"text": "buy milk"}'))
    assert made["text"] == "buy milk"
    curl(server, "/notes", "-d", '{"text": "sleep"}')
    assert json.loads(curl(server, "/notes?find=milk")) == {"count": 1, "notes": [made]}
    assert json.loads(curl(server, "/notes"))["count"] == 2
    assert json.loads(curl(server, "/notes", "-d", "no json"))["problem"].startswith("json: ")
    assert json.loads(curl(server, "/else"))["problem"] == "there is no /else"


def test_http_streams_a_clock(zerg):
    server = start_example(zerg, "http.lua", "--http", "--reactors", "1")
    peer = server.connect().send("GET /clock HTTP/1.1\r\nHost: a\r\n\r\n")
    lines = [peer.line().rstrip("\r") for _ in range(12)]
    assert "Content-Type: text/event-stream" in lines
    assert sum(line.startswith("data: ") for line in lines) >= 1
