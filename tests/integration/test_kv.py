"""examples/kv.lua: redis-cli and redis-benchmark drive it, and its answers are, byte by byte, those of Redis 7.0."""

import random
import re
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from harness import free_port
from peer import PATIENCE, SCALE, dial, hash_of, pattern, until
from kv_conversations import CONVERSATIONS, random_command, request, sessions
from test_examples import EXAMPLES, start_example

# ---- the two servers ----


@pytest.fixture(scope="module")
def redis_port():
    """A redis-server of our own that keeps nothing on disk."""
    # Debian's redis-tools has the server as well: one program that acts by the name it is called by.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if not program:
        pytest.skip("neither redis-server nor redis-check-rdb is installed")
    port, directory = free_port(), tempfile.mkdtemp(prefix="zerg-test-redis-")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory]
    process = subprocess.Popen(["redis-server", *options], executable=program, stdout=subprocess.DEVNULL,
                               stderr=subprocess.STDOUT)
    try:
        until(lambda: can_connect(port), "redis-server ready")
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except ConnectionRefusedError:
        return False


@pytest.fixture
def kv(zerg):
    return start_example(zerg, "kv.lua", "--reactors", "1")


JIT_MODES = {
    "jit": "",
    "jit_off": "jit.off() ",
    "jit_hot": 'require("jit.opt").start("hotloop=1", "hotexit=1") ',
}


@pytest.fixture(params=JIT_MODES)
def kv_of_each_jit_mode(zerg, request):
    """kv.lua as the handler of a configuration, compiled as usual, not at all, and at the first chance."""
    text = f'{JIT_MODES[request.param]}return dofile("{EXAMPLES / "kv.lua"}")\n'
    return zerg(files={"handler.lua": text}, lua_path=str(EXAMPLES / "?.lua"))


# ---- a client ----


class Client:
    """Reads answers as the bytes they are."""

    def __init__(self, port):
        self.peer = dial(("127.0.0.1", port))
        self.file = self.peer.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.peer.close()

    def send(self, data):
        self.peer.send(data)

    def ask(self, *words):
        self.send(request(*words))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), f"end of stream in an answer: {line!r}"
        kind, count = line[:1], line[1:-2]
        if kind == b"$" and count != b"-1":
            return line + self.exactly(int(count) + 2)
        if kind == b"*" and count != b"-1":
            return line + b"".join(self.answer() for _ in range(int(count)))
        assert kind in b"+-:$*", line
        return line

    def exactly(self, count):
        data = self.file.read(count)
        assert len(data) == count, f"end of stream in an answer: {data[:200]!r}"
        return data

    def rest(self):
        return self.file.read()


def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


OK, NIL, ZERO, ONE = b"+OK\r\n", b"$-1\r\n", b":0\r\n", b":1\r\n"


def same(command, ours, theirs):
    """Whether two answers are the same; those about the time left may differ by how long it took to ask."""
    if command[0].lower() in ("ttl", "pttl") and ours[:1] == theirs[:1] == b":":
        slack = 1 if command[0].lower() == "ttl" else 1000 * SCALE
        return abs(int(ours[1:]) - int(theirs[1:])) <= slack
    return ours == theirs


# ---- the same conversations with both ----

def compare(ours, theirs, commands):
    ours.ask("FLUSHALL"), theirs.ask("FLUSHALL")
    differences = []
    for command in commands:
        answers = ours.ask(*command), theirs.ask(*command)
        if not same(command, *answers):
            differences.append(f"{command}: zerg {answers[0]!r}, redis {answers[1]!r}")
    assert not differences, "\n".join(differences)


def test_answers_are_those_of_redis(kv_of_each_jit_mode, redis_port):
    kv_of_each_jit_mode.wait_ready()
    for commands in sessions():
        with Client(kv_of_each_jit_mode.port) as ours, Client(redis_port) as theirs:
            compare(ours, theirs, commands)


@pytest.mark.parametrize("seed", range(3))
def test_random_commands_are_answered_as_redis_does(kv_of_each_jit_mode, redis_port, seed):
    kv_of_each_jit_mode.wait_ready()
    source = random.Random(seed)
    with Client(kv_of_each_jit_mode.port) as ours, Client(redis_port) as theirs:
        compare(ours, theirs, [random_command(source) for _ in range(800)])


# ---- the protocol ----

def conversation(port, data):
    with Client(port) as client:
        client.ask("FLUSHALL")
        sender = client.peer.send_in_background(data)
        try:
            return client.rest()
        except ConnectionResetError:  # the server closed before it had read everything
            return b"reset"
        finally:
            sender.join()


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_protocol_is_that_of_redis(kv, redis_port, name):
    ours, theirs = conversation(kv.port, CONVERSATIONS[name]), conversation(redis_port, CONVERSATIONS[name])
    assert ours == theirs


PIPELINE = [
    ["PING"],
    ["SET", "key", "value"],
    ["GET", "key"],
    ["SET", "number", 9],
    ["INCR", "number"],
    ["MGET", "key", "number", "none"],
    ["ECHO", b"\r\n*1\r\n"],
    ["SET", "key", "x" * 120, "EX", "100"],
    ["GET", "key"],
    ["nonsense", "a"],
    ["DEL", "key", "number"],
    ["ECHO", ""],
    ["DBSIZE"],
]


def pipeline_and_answer(port):
    data = b"".join(request(*command) for command in PIPELINE) + b"PING inline\r\n"
    with Client(port) as client:
        client.ask("FLUSHALL")
        client.send(data)
        return data, b"".join(client.answer() for _ in range(len(PIPELINE) + 1))


def test_pipeline_is_answered_in_order(kv, redis_port):
    assert pipeline_and_answer(kv.port) == pipeline_and_answer(redis_port)


def test_pipeline_may_be_cut_at_every_byte(kv):
    data, answer = pipeline_and_answer(kv.port)
    with Client(kv.port) as client:
        for at in range(1, len(data)):
            client.send(data[:at])
            time.sleep(0.001)  # lets the first part arrive alone
            client.send(data[at:])
            assert client.exactly(len(answer)) == answer, f"cut at {at}"


def test_pipeline_may_come_byte_by_byte(kv):
    data, answer = pipeline_and_answer(kv.port)
    with Client(kv.port) as client:
        for at in range(len(data)):
            client.send(data[at : at + 1])
        assert client.exactly(len(answer)) == answer


def test_pipeline_of_many_buffers_is_answered_in_order(kv):
    """Requests of many sizes, so that they are cut by the receive buffers at all kinds of places."""
    count = 3000
    values = [pattern(n * 37 % 5000, seed=n % 50) for n in range(count)]
    data = b"".join(request("SET", f"key:{n}", value) + request("GET", f"key:{n}") for n, value in enumerate(values))
    expected = b"".join(OK + bulk(value) for value in values)
    with Client(kv.port) as client:
        sender = client.peer.send_in_background(data)
        assert client.exactly(len(expected)) == expected
        sender.join()


def test_connections_do_not_mix_while_their_requests_are_incomplete(kv):
    clients = [Client(kv.port) for _ in range(50)]
    requests = [request("SET", f"key:{n}", str(n) * 40) + request("GET", f"key:{n}") for n in range(50)]
    for at in range(max(map(len, requests))):
        for client, data in zip(clients, requests):
            client.send(data[at : at + 1])
    for n, client in enumerate(clients):
        assert client.exactly(5) == OK
        assert client.answer() == bulk(str(n).encode() * 40)
        client.close()


def test_request_that_never_ends_is_dropped_with_its_client(kv):
    with Client(kv.port) as client:
        client.send(request("SET", "k", "v")[:-3])
    with Client(kv.port) as client:
        client.send(b"*2\r\n$3\r\nGET\r\n$1000000\r\nabc")
        client.peer.half_close()
        assert client.rest() == b""
        with Client(kv.port) as other:
            assert other.ask("GET", "k") == NIL


@pytest.mark.heavy
def test_values_of_64_mib(kv):
    size = 64 * 1024 * 1024
    with Client(kv.port) as client:
        for seed in range(4):
            value = pattern(size, seed)
            sender = client.peer.send_in_background(request("SET", "big", value))
            assert client.answer() == OK
            sender.join()
            client.send(request("GET", "big") + request("PING"))
            assert client.file.readline() == b"$%d\r\n" % size
            assert hash_of(client.exactly(size)) == hash_of(value)
            assert client.exactly(2) == b"\r\n"
            assert client.answer() == b"+PONG\r\n"


def test_values_around_the_sizes_that_are_handled_differently(kv):
    sizes = [1, 2000, 2022, 2048, 4095, 4096, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 300_000, 1_048_577]
    with Client(kv.port) as client:
        for size in sizes:
            value = pattern(size)
            sender = client.peer.send_in_background(request("SET", "k", value))
            assert client.answer() == OK
            sender.join()
            assert client.ask("GET", "k") == bulk(value)
            assert client.ask("MGET", "k", "none", "k") == b"*3\r\n" + bulk(value) + NIL + bulk(value)


def test_client_that_does_not_read_holds_up_nobody(kv):
    with Client(kv.port) as slow, Client(kv.port) as other:
        slow.ask("SET", "k", "x" * 100_000)
        sender = slow.peer.send_in_background(request("GET", "k") * 500)
        for _ in range(200):
            assert other.ask("PING") == b"+PONG\r\n"
        expected = bulk(b"x" * 100_000)
        for _ in range(500):
            assert slow.exactly(len(expected)) == expected
        sender.join()


# ---- expiry ----


def test_keys_expire(kv):
    with Client(kv.port) as client:
        client.ask("SET", "k", "v", "PX", 40)
        client.ask("MSET", "a", 1, "b", 2)
        client.ask("PEXPIRE", "a", 40)
        assert client.ask("GET", "k") == bulk(b"v")
        until(lambda: client.ask("GET", "k") == NIL, "k expired")
        until(lambda: client.ask("EXISTS", "a") == ZERO, "a expired")
        assert client.ask("TTL", "k") == b":-2\r\n"
        assert client.ask("DEL", "k") == ZERO
        assert client.ask("PERSIST", "k") == ZERO
        assert client.ask("GET", "b") == bulk(b"2")
        assert client.ask("SET", "k", "again", "NX") == OK
        assert client.ask("TTL", "k") == b":-1\r\n"


def test_expired_counter_starts_again(kv):
    with Client(kv.port) as client:
        client.ask("SET", "n", 41, "PX", 20)
        until(lambda: client.ask("EXISTS", "n") == ZERO, "n expired")
        assert client.ask("INCR", "n") == ONE
        assert client.ask("TTL", "n") == b":-1\r\n"


def test_expired_keys_go_without_being_asked_for(kv):
    count = 10_000
    with Client(kv.port) as client:
        client.send(b"".join(request("SET", f"k:{n}", n, "PX", 30 + n % 50) for n in range(count)))
        assert client.exactly(5 * count) == OK * count
        client.send(b"".join(request("SET", f"stays:{n}", n, "EX", 1000) for n in range(100)))
        assert client.exactly(500) == OK * 100
        until(lambda: client.ask("DBSIZE") == b":100\r\n", "10,000 keys swept")
        assert client.ask("GET", "stays:42") == bulk(b"42")


def test_server_sleeps_when_no_key_expires(kv):
    """The sweep runs only while there is something to sweep."""
    with Client(kv.port) as client:
        client.ask("SET", "k", "v", "PX", 10)
        until(lambda: client.ask("DBSIZE") == ZERO, "k swept")
        time.sleep(0.2)
        reactor = next(task for task, name in kv.threads().items() if name == "zerg-r0")
        before = kv.switches()[reactor]
        time.sleep(0.6)
        assert kv.switches()[reactor] == before


# ---- real clients ----


def redis_cli(port, *args, text=None):
    done = subprocess.run(["redis-cli", "-p", str(port), *args], input=text, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    return done.stdout + done.stderr


CLI_SESSION = """\
FLUSHALL
PING
SET greeting "hello world"
GET greeting
SET n 10
INCR n
INCRBY n five
EXPIRE n 100
TTL n
MGET greeting n none
DEL greeting n
DBSIZE
GET
NOSUCH command
"""


def test_redis_cli_sessions_look_the_same(kv, redis_port):
    assert redis_cli(kv.port, text=CLI_SESSION) == redis_cli(redis_port, text=CLI_SESSION)


@pytest.mark.parametrize("args, answer", [
    (["set", "greeting", "hello"], "OK\n"),
    (["--no-raw", "get", "greeting"], '"hello"\n'),
    (["--no-raw", "mget", "greeting", "none"], '1) "hello"\n2) (nil)\n'),
    (["-r", "3", "incr", "n"], "1\n2\n3\n"),
    (["command", "count"], None),
    (["command", "info", "get"], None),
])
def test_redis_cli_one_command(kv, args, answer):
    redis_cli(kv.port, "set", "greeting", "hello")
    printed = redis_cli(kv.port, *args)
    assert printed == answer if answer else not printed.startswith("ERR")


def test_command_lists_what_there_is(kv):
    with Client(kv.port) as client:
        count = int(client.ask("COMMAND", "COUNT")[1:])
        listed = client.ask("COMMAND")
        assert listed.startswith(b"*%d\r\n" % count)
        for name in b"ping echo set get del exists incr decr expire ttl mget mset dbsize flushall command quit".split():
            assert bulk(name) in listed
        get = b"*6\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
        assert client.ask("COMMAND", "INFO", "GET", "nosuch") == b"*2\r\n" + get + b"*-1\r\n"


def test_redis_cli_pipe_mode_loads_data(kv):
    data = b"".join(request("SET", f"key:{n}", f"value {n}") for n in range(5000))
    done = subprocess.run(["redis-cli", "-p", str(kv.port), "--pipe"], input=data, capture_output=True,
                          timeout=PATIENCE, check=False)
    assert b"errors: 0, replies: 5000" in done.stdout, done.stdout + done.stderr
    assert redis_cli(kv.port, "dbsize") == "5000\n"


@pytest.mark.parametrize("depth", [1, 16])
def test_redis_benchmark_runs_clean(kv, depth):
    options = ["-t", "ping,set,get,incr,mset", "-P", str(depth), "-n", "20000", "-r", "10000", "-q"]
    done = subprocess.run(["redis-benchmark", "-p", str(kv.port), *options], capture_output=True, text=True,
                          timeout=PATIENCE * 5, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert len(re.findall(r"requests per second", done.stdout)) >= 6, output
    assert not re.search(r"warn|error|fail", output, re.I), output


def test_several_reactors_are_warned_about(zerg):
    server = start_example(zerg, "kv.lua", "--reactors", "2")
    server.log.expect("reactor 0 has data of its own")
    server.log.expect("reactor 1 has data of its own")


# ---- memory ----

OUT_OF_MEMORY = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


@pytest.fixture
def small_kv(zerg):
    listener = {"handler": str(EXAMPLES / "kv.lua"), "address": "127.0.0.1"}
    return zerg(listeners=[listener], lua_path=str(EXAMPLES / "?.lua"), script_memory_max="16m").wait_ready()


def fill(client, batch=200, size=200):
    """Sets keys until one is refused; how many were set."""
    count = 0
    while count < 1_000_000:
        client.send(b"".join(request("SET", f"key:{count + n}", f"{count + n}" * (size // 7)) for n in range(batch)))
        answers = [client.answer() for _ in range(batch)]
        count += answers.count(OK)
        if OUT_OF_MEMORY in answers:
            return count
        assert answers == [OK] * batch
    raise AssertionError("never full")


def test_full_memory_refuses_data_and_serves_the_rest(small_kv):
    with Client(small_kv.port) as client:
        count = fill(client)
        assert client.ask("DBSIZE") == b":%d\r\n" % count
        assert client.ask("GET", "key:1") == bulk(b"1" * 28)
        assert client.ask("INCR", "n") == OUT_OF_MEMORY
        assert client.ask("EXPIRE", "key:1", "100") == ONE
        assert client.ask("FLUSHALL") == OK
        until(lambda: client.ask("SET", "k", "v") == OK, "room again")
        assert fill(client) > count / 2


def test_word_that_does_not_fit_memory_is_refused(small_kv):
    with Client(small_kv.port) as client:
        sender = client.peer.send_in_background(request("SET", "k", bytes(20_000_000)) + request("GET", "k"))
        assert client.answer() == OUT_OF_MEMORY
        assert client.answer() == NIL
        sender.join()


def test_large_values_replace_each_other(small_kv):
    with Client(small_kv.port) as client:
        for n in range(30):
            value = pattern(3_000_000, seed=n)
            sender = client.peer.send_in_background(request("SET", "k", value))
            assert client.answer() == OK
            sender.join()
        assert client.ask("GET", "k") == bulk(value)
