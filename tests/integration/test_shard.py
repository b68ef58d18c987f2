"""examples/shard.lua: in front of three servers, of Redis or of kv.lua, it answers as one Redis does."""

import binascii
import random
import re
import subprocess
import time

import pytest

from kv_conversations import CONVERSATIONS, random_command, request, sessions
from peer import PATIENCE, Backend, hash_of, pattern, until
from services import Services, run
from talkers import Refusing
from test_examples import EXAMPLES, start_example, start_with_targets, text_with_targets
from test_kv import (CLI_SESSION, JIT_MODES, NIL, OK, ONE, Client, bulk, compare, conversation, pipeline_and_answer,
                     redis_cli, redis_port)

assert redis_port  # a fixture

PLACES = ["127.0.0.1:6381", "127.0.0.1:6382", "127.0.0.1:6383"]
SLOTS = 16384


def place_of(key):
    """Which of the three shards has a key."""
    key = key if isinstance(key, bytes) else key.encode()
    match = re.match(rb"[^{]*\{([^}]+)\}", key)
    return binascii.crc_hqx(match[1] if match else key, 0) % SLOTS * 3 // SLOTS


def key_at(place, prefix="key"):
    return next(key for n in range(1000) if place_of(key := f"{prefix}:{n}") == place)


def start_shard(zerg, targets, *args):
    return start_with_targets(zerg, "shard.lua", dict(zip(PLACES, targets)), *args)


class Shards:
    """Three servers and the proxy in front of them."""

    def __init__(self, zerg, servers):
        self.servers = servers
        self.proxy = start_shard(zerg, [f"127.0.0.1:{server.port}" for server in servers], "--reactors", "1")

    @property
    def port(self):
        return self.proxy.port


@pytest.fixture(scope="module")
def running():
    """Three of Redis."""
    services = Services()
    yield [services.redis() for _ in range(3)]
    services.end_all()


@pytest.fixture
def redis_servers(running):
    """They, without keys."""
    for server in running:
        with Client(server.port) as client:
            assert client.ask("FLUSHALL") == OK
    return running


@pytest.fixture
def redises(zerg, redis_servers):
    return Shards(zerg, redis_servers)


def start_configured(zerg, servers, top="", **options):
    """As the handler of a configuration; `top` is Lua that stands before it."""
    targets = dict(zip(PLACES, [server.target for server in servers]))
    server = zerg(files={"handler.lua": top + text_with_targets("shard.lua", targets)},
                  lua_path=str(EXAMPLES / "?.lua"), **options)
    return server.wait_listening()


@pytest.fixture
def kvs(zerg):
    shards = Shards(zerg, [start_example(zerg, "kv.lua", "--reactors", "1") for _ in range(3)])
    zerg.servers.reverse()  # the proxy ends first: its idle connections would keep the others from it
    return shards


@pytest.fixture(params=["redis", "kv"])
def shards(request):
    return request.getfixturevalue({"redis": "redises", "kv": "kvs"}[request.param])


@pytest.fixture
def shards_down(zerg, behind, redis_servers):
    """The second of three shards refuses."""
    refusing = behind(Refusing)
    server = start_shard(zerg, [redis_servers[0].target, refusing.target, redis_servers[2].target])
    server.log.allow("cannot reach|upstream|server ")
    return server, f"-ERR shard {refusing.target}: refused\r\n".encode()


# ---- as one server ----

OTHERWISE = {"command", "config", "unknown", "gett", ""}  # what a proxy says about itself, and other words for errors


def comparable(commands):
    return [command for command in commands if command[0].lower() not in OTHERWISE]


def test_answers_are_those_of_one_redis(shards, redis_port):
    with Client(shards.port) as ours, Client(redis_port) as theirs:
        for commands in sessions():
            compare(ours, theirs, comparable(commands))


@pytest.mark.parametrize("seed", range(2))
def test_random_commands_are_answered_as_by_one_redis(shards, redis_port, seed):
    source = random.Random(seed)
    with Client(shards.port) as ours, Client(redis_port) as theirs:
        compare(ours, theirs, [random_command(source) for _ in range(500)])


def random_pipeline(source):
    data = b"".join(request(*random_command(source)) for _ in range(200))
    return data + request("PING") + b"set inline 'a b'\r\nMGET inline none inline\r\n" + request("DBSIZE")


def answers_to(port, data, count, step=None):
    with Client(port) as client:
        client.ask("FLUSHALL")
        for at in range(0, len(data), step or len(data)):
            client.send(data[at : at + (step or len(data))])
        return [client.answer() for _ in range(count)]


@pytest.mark.parametrize("step", [None, 7, 1000])
def test_pipelines_are_answered_in_order(shards, redis_port, step):
    data = random_pipeline(random.Random(step))
    ours, theirs = answers_to(shards.port, data, 204, step), answers_to(redis_port, data, 204)
    assert without_times(ours) == without_times(theirs)


def without_times(answers):
    """Seconds left, which may differ by one."""
    return [b":time" if re.fullmatch(rb":\d{3,}\r\n", answer) else answer for answer in answers]


def test_pipeline_may_be_cut_at_every_byte(kvs):
    data, answer = pipeline_and_answer(kvs.port)
    with Client(kvs.port) as client:
        for at in range(1, len(data)):
            client.send(data[:at])
            time.sleep(0.001)  # lets the first part arrive alone
            client.send(data[at:])
            assert client.exactly(len(answer)) == answer, f"cut at {at}"


def test_commands_of_other_types(redises, redis_port):
    commands = [["RPUSH", "l", *"abc"], ["LRANGE", "l", 0, -1], ["HSET", "h", "f", "v", "g", "w"], ["HGETALL", "h"],
                ["SADD", "s", "x"], ["SMEMBERS", "s"], ["ZADD", "z", 1, "m"], ["ZRANGE", "z", 0, -1, "WITHSCORES"],
                ["GET", "l"], ["MGET", "l", "x"], ["TYPE", "h"], ["UNLINK", "l", "h", "s", "z", "none"], ["LPOP", "l"],
                ["TOUCH", "l", "h"], ["SET", "{l}1", "v"], ["GET", "{l}1"], ["LRANGE", "l"]]
    with Client(redises.port) as ours, Client(redis_port) as theirs:
        compare(ours, theirs, commands)


# ---- where keys are ----


def test_keys_are_where_their_slots_are(redises):
    keys = [f"k{n}" for n in range(100)] + ["", "{}", "{}a", "a{b}c{d}", "{{x}", "{user:7}.name", "{user:7}.mail", "a{b"]
    with Client(redises.port) as client:
        for key in keys:
            assert client.ask("SET", key, key) == OK
        assert client.ask("DBSIZE") == b":%d\r\n" % len(keys)
    for place, server in enumerate(redises.servers):
        with Client(server.port) as client:
            mine = [key for key in keys if place_of(key) == place]
            assert client.ask("DBSIZE") == b":%d\r\n" % len(mine)
            assert client.ask("MGET", *mine) == b"*%d\r\n" % len(mine) + b"".join(bulk(k.encode()) for k in mine)


# ---- the protocol ----

SAME = [name for name in CONVERSATIONS if not re.match("unknown|subcommand|http_post|words_of_many|quit_|inline_odd|inline_empty_word", name)]


def test_mistakes_are_answered_as_by_redis(kvs, redis_port):
    for name in SAME:
        data = CONVERSATIONS[name]
        assert conversation(kvs.port, data) == conversation(redis_port, data), name


def test_unknown_and_odd_requests(redises):
    with Client(redises.port) as client:
        for name in ("RENAME", "x" * 200, "SUBSCRIBE", "MULTI", "", "a\r\nb"):
            answer = client.ask(name, "a", "b")
            assert answer.startswith(b"-ERR unknown command '") and answer.endswith(b"cannot be sharded\r\n")
        assert client.ask("RENAME", "a" * 100_000, "b").startswith(b"-ERR unknown command 'RENAME'")
        assert client.ask("GET", "k" * 70_000).endswith(b": key is too long\r\n")
        assert client.ask("ECHO", "x" * 70_000) == b"-ERR too long an argument for 'echo' command\r\n"
        assert client.ask("FLUSHALL", *["x" * 100] * 100) == b"-ERR too many arguments for 'flushall' command\r\n"
        assert client.ask("MSET", "a" * 5000, "1", "b") == b"-ERR wrong number of arguments for 'mset' command\r\n"
        assert client.ask("PING") == b"+PONG\r\n"
        client.send(request("SET", "a", "v") + b"POST / HTTP/1.1\r\n")
        assert client.rest() == OK


@pytest.mark.parametrize("rest", [b"x", b"$-1\r\n", b"$x\r\n", b"$600000000\r\n"])
def test_mistake_behind_the_key_ends_the_conversation(redises, rest):
    with Client(redises.port) as client:
        client.send(request("SET", "k", "v") + b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n" + rest + b"\r\n")
        assert client.rest().startswith(OK + b"-ERR Protocol error: ")
    with Client(redises.port) as client:
        assert client.ask("GET", "k") == bulk(b"v")


# ---- large values ----


def test_values_of_many_sizes(shards):
    sizes = [0, 1, 4000, 4095, 4096, 4097, 16_384, 65_535, 65_536, 300_000, 3_000_000]
    with Client(shards.port) as client:
        for size in sizes:
            value = pattern(size)
            sender = client.peer.send_in_background(request("SET", "k", value, "EX", 100) + request("GET", "k"))
            assert client.answer() == OK
            assert client.answer() == bulk(value)
            sender.join()
            assert client.ask("MGET", "k", "none", "k") == b"*3\r\n" + bulk(value) + NIL + bulk(value)


def test_values_in_requests_that_are_split(shards):
    values = {f"key:{n}": pattern(size, seed=n) for n, size in enumerate([10, 100_000, 0, 500_000, 5000, 4096, 70_000])}
    words = [word for pair in values.items() for word in pair]
    with Client(shards.port) as client:
        sender = client.peer.send_in_background(request("MSET", *words) + request("MGET", *values) + request("PING"))
        assert client.answer() == OK
        assert client.answer() == b"*%d\r\n" % len(values) + b"".join(map(bulk, values.values()))
        assert client.answer() == b"+PONG\r\n"
        sender.join()
        assert client.ask("DEL", *values, "none") == b":%d\r\n" % len(values)


def test_large_values_do_not_come_to_lua(zerg, redis_servers):
    size = 30_000_000
    value = pattern(size)
    with Client(start_configured(zerg, redis_servers, script_memory_max="4m").port) as client:
        for _ in range(3):
            sender = client.peer.send_in_background(request("SET", "big", value) + request("GET", "big"))
            assert client.answer() == OK
            assert client.file.readline() == b"$%d\r\n" % size
            assert hash_of(client.exactly(size)) == hash_of(value)
            assert client.exactly(2) == b"\r\n"
            sender.join()


def test_nobody_stands_still_when_all_is_large(kvs):
    """Shards that wait until their answers are taken, and a client that sends on without reading."""
    value = pattern(200_000)
    keys = [key_at(n % 3, f"k{n}") for n in range(6)]
    data = b"".join(request("SET", key, value) for key in keys)
    data += b"".join(request("GET", keys[n % 6]) for n in range(150)) + request("SET", keys[0], value * 3)
    data += request("MGET", *keys * 10) + request("GET", keys[0])
    with Client(kvs.port) as client:
        sender = client.peer.send_in_background(data)
        assert client.exactly(5 * 6) == OK * 6
        for _ in range(150):
            assert client.answer() == bulk(value)
        assert client.answer() == OK
        assert client.answer() == b"*60\r\n" + (bulk(value * 3) + bulk(value) * 5) * 10
        assert client.answer() == bulk(value * 3)
        sender.join()


def test_requests_with_thousands_of_keys(shards):
    keys = [f"key:{n}" for n in range(5000)]
    pairs = [word for key in keys for word in (key, key * 3)]
    with Client(shards.port) as client:
        sender = client.peer.send_in_background(request("MSET", *pairs) + request("MGET", *keys) + request("DEL", *keys))
        assert client.answer() == OK
        assert client.answer() == b"*5000\r\n" + b"".join(bulk(key.encode() * 3) for key in keys)
        assert client.answer() == b":5000\r\n"
        sender.join()


# ---- shards that are down, or odd ----


def test_only_keys_of_a_shard_that_is_down_fail(shards_down):
    server, problem = shards_down
    a, b, c = (key_at(place) for place in range(3))
    with Client(server.port) as client:
        assert client.ask("SET", a, "1") == OK
        assert client.ask("SET", b, "2") == problem
        assert client.ask("SET", c, "3") == OK
        assert client.ask("SET", b, "x" * 100_000) == problem
        client.send(request("GET", a) + request("GET", b) + request("GET", c))
        assert [client.answer() for _ in range(3)] == [bulk(b"1"), problem, bulk(b"3")]
        assert client.ask("MGET", a, b, c) == b"*3\r\n" + bulk(b"1") + problem + bulk(b"3")
        assert client.ask("MSET", a, "4", b, "5") == problem
        assert client.ask("DEL", a, b) == problem
        assert client.ask("DBSIZE") == problem
        assert client.ask("GET", c) == bulk(b"3")
        assert client.ask("PING") == b"+PONG\r\n"


def test_shard_that_dies_and_comes_back(redises):
    redises.proxy.log.allow("cannot reach|upstream|server ")
    keys = [key_at(place) for place in range(3)]
    with Client(redises.port) as client:
        assert client.ask("MSET", *[word for key in keys for word in (key, "v")]) == OK
        redises.servers[1].kill()
        until(lambda: client.ask("GET", keys[1]).endswith(b": refused\r\n"), "the shard is missed")
        assert client.ask("GET", keys[0]) == client.ask("GET", keys[2]) == bulk(b"v")
        redises.servers[1].run_again()
        until(lambda: client.ask("GET", keys[1]) == NIL, "the shard is back, and empty", timeout=PATIENCE * 2)
        assert client.ask("SET", keys[1], "w") == OK


def test_shard_that_closes_idle_connections(redises):
    key = key_at(0)
    with Client(redises.port) as client, Client(redises.servers[0].port) as direct:
        assert client.ask("SET", key, "v") == OK
        direct.ask("CLIENT", "KILL", "TYPE", "normal")
        until(lambda: direct.ask("CLIENT", "LIST").count(b" addr=") == 1, "killed")
        assert client.ask("GET", key) == bulk(b"v")


@pytest.fixture
def odd(zerg, behind):
    """The first shard is the test itself."""
    backend = behind(Backend)
    refusing = behind(Refusing).target
    server = start_with_targets(zerg, "shard.lua", {PLACES[0]: backend.target, PLACES[1]: refusing, PLACES[2]: refusing})
    server.log.allow("cannot reach|upstream|server ")
    return server, backend


def ask_odd(odd, answer, leave=False):
    """A client that got two requests for the first shard through, and what that shard then said."""
    server, backend = odd
    client = Client(server.port)
    data = request("GET", key_at(0)) * 2
    client.send(data)
    shard = backend.accept()
    shard.expect(data)
    shard.send(answer)
    if leave:
        shard.close()
    return client, shard


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b"*99999999999\r\n", b"\r\n", b"$\r\n"])
def test_shard_that_speaks_another_protocol(odd, answer):
    client, shard = ask_odd(odd, b"+fine\r\n" + answer)
    assert client.answer() == b"+fine\r\n"
    assert client.answer().endswith(b": no answer in RESP\r\n")
    assert client.ask("PING") == b"+PONG\r\n"
    shard.expect_reset()


def test_shard_that_leaves_without_an_answer(odd):
    client, _ = ask_odd(odd, b"", leave=True)
    assert client.answer().endswith(b": closed\r\n")
    assert client.answer().endswith(b": closed\r\n")


@pytest.mark.parametrize("answer", [b"$100\r\nabc", b"$100000\r\n" + b"x" * 5000, b"*2\r\n:1\r\n"])
def test_shard_that_leaves_within_an_answer(odd, answer):
    client, _ = ask_odd(odd, answer, leave=True)
    client.peer.expect_reset()


def test_shard_that_leaves_within_a_request(odd):
    server, backend = odd
    with Client(server.port) as client:
        sender = client.peer.send_in_background(request("SET", key_at(0), pattern(5_000_000)) + request("PING"))
        backend.accept().reset()
        assert re.match(rb"-ERR shard .*: (closed|reset)\r\n", client.answer())
        assert client.answer() == b"+PONG\r\n"
        sender.join()


# ---- clients that leave ----


def test_clients_that_leave_disturb_no_others(redises):
    key = key_at(0)
    large = request("SET", key, pattern(100_000))
    with Client(redises.port) as client:
        assert client.ask("SET", key, "v") == OK
        for at in (10, 25, 40, 60, 5000, 50_000):
            Client(redises.port).peer.send(large[:at]).close()
            Client(redises.port).peer.send(large[:at]).reset()
            assert client.ask("GET", key) == bulk(b"v")
        with Client(redises.servers[0].port) as direct:
            direct.ask("SET", "{%s}big" % key, "x" * 3_000_000)
        for _ in range(5):
            Client(redises.port).peer.send(request("GET", "{%s}big" % key) * 5).reset()
        assert client.ask("GET", key) == bulk(b"v")


def test_clients_share_few_connections(redises):
    clients = [Client(redises.port) for _ in range(50)]
    for n, client in enumerate(clients):
        assert client.ask("SET", f"key:{n}", n) == OK
    with Client(redises.servers[0].port) as direct:
        connected = int(re.search(rb"connected_clients:(\d+)", direct.ask("INFO", "clients"))[1])
        assert connected <= 3
    for client in clients:
        client.close()


# ---- real clients, and the compiler ----


def test_redis_cli_sessions_look_the_same(shards, redis_port):
    text = CLI_SESSION.replace("NOSUCH command\n", "")
    assert redis_cli(shards.port, text=text) == redis_cli(redis_port, text=text)


@pytest.mark.parametrize("depth", [1, 16])
def test_redis_benchmark_runs_clean(shards, depth):
    options = ["-t", "ping,set,get,incr,mset", "-P", depth, "-n", 6000, "-r", 10000, "-q"]
    done = subprocess.run(["redis-benchmark", "-p", str(shards.port), *map(str, options)], capture_output=True, text=True,
                          timeout=PATIENCE * 5, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert len(re.findall(r"requests per second", done.stdout)) >= 6, output
    assert not re.search(r"warn|error|fail", output, re.I), output


@pytest.mark.parametrize("top", JIT_MODES.values(), ids=JIT_MODES)
def test_answers_do_not_depend_on_the_compiler(zerg, redis_servers, redis_port, top):
    source = random.Random(7)
    with Client(start_configured(zerg, redis_servers, top).port) as ours, Client(redis_port) as theirs:
        compare(ours, theirs, [random_command(source) for _ in range(400)])


def test_redis_benchmark_with_large_values(redises):
    run("redis-benchmark", "-p", redises.port, "-t", "set,get", "-d", 50_000, "-n", 1000, "-q", "-e")
    with Client(redises.port) as client:
        assert client.ask("EXISTS", "key:__rand_int__") == ONE
