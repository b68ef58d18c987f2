"""Listeners that forward, between real clients and real servers: redis, nginx, HAProxy, PostgreSQL, iperf3."""

import csv
import hashlib
import json
import random
import threading

import pytest

from peer import PATIENCE, SCALE, Backend, dial, hash_of, pattern, until
from services import Services, run

RINGS = [pytest.param({"incremental": False}, id="plain"), pytest.param({"incremental": True}, id="incremental")]
ROWS = int(1_000_000 / SCALE)
FILE_BYTES = int(50_000_000 / SCALE)


@pytest.fixture(params=RINGS)
def ring(request):
    return request.param


@pytest.fixture
def relay(zerg):
    """Starts a server that forwards to a target; returns the port to connect to."""

    def start(target, ring=None, **options):
        server = zerg(listeners=[{"address": "127.0.0.1", "forward": target}], reactor=ring or {}, **options)
        return server.wait_listening().port

    return start


@pytest.fixture(scope="module")
def database():
    """One for all tests: making it takes seconds."""
    started = Services()
    try:
        yield started.postgres()
    finally:
        started.end_all()


# ---- redis ----

REDIS_TESTS = 20  # what redis-benchmark measures when it is not told what


def redis_commands(*commands):
    """Commands as redis reads them, in one piece."""
    out = []
    for words in commands:
        out.append(b"*%d\r\n" % len(words))
        out += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(out)


def redis_values(port, keys):
    """What MGET answers, byte for byte."""
    with dial(("127.0.0.1", port)) as peer:
        thread = peer.send_in_background(redis_commands([b"MGET", *keys], [b"QUIT"]))
        answer = peer.rest()
        thread.join(PATIENCE)
        return answer


def redis_digest(port):
    return run("redis-cli", "-p", port, "debug", "digest")


@pytest.mark.parametrize("pipeline", [1, 64])
def test_redis_under_its_benchmark(relay, services, ring, pipeline):
    redis = services.redis()
    port = relay(redis.target, ring)
    requests = int((1_500 if pipeline == 1 else 3_000) / SCALE)
    out = run("redis-benchmark", "-p", port, "-n", requests, "-P", pipeline, "-r", 10_000, "-d", 50, "--csv")
    rows = list(csv.DictReader(out.decode().splitlines()))
    assert len(rows) == REDIS_TESTS, out
    assert all(float(row["rps"]) > 0 for row in rows)
    assert b"total_error_replies:0\r\n" in run("redis-cli", "-p", redis.port, "info", "stats")
    assert redis_digest(port) == redis_digest(redis.port)


def test_redis_stores_what_was_sent(relay, services, ring):
    """Values of all lengths go in through a relay in one long pipeline; the same come out, through it and past it."""
    redis = services.redis()
    port = relay(redis.target, ring)
    chance = random.Random(7)
    values = {b"key %d" % number: chance.randbytes(chance.choice((1, 100, 5_000, 100_000))) for number in range(400)}
    with dial(("127.0.0.1", port)) as peer:
        thread = peer.send_in_background(redis_commands(*([b"SET", key, value] for key, value in values.items())))
        peer.expect(b"+OK\r\n" * len(values))
        thread.join(PATIENCE)
    wanted = b"*%d\r\n" % len(values) + b"".join(b"$%d\r\n%s\r\n" % (len(value), value) for value in values.values())
    for place in (port, redis.port):
        assert hash_of(redis_values(place, values)) == hash_of(wanted + b"+OK\r\n")


def test_a_redis_replica_behind_a_relay(relay, services):
    """A copy of all data, then a stream of changes over the same connection."""
    primary = services.redis()
    port = relay(primary.target)
    write = ("redis-benchmark", "-p", primary.port, "-n", int(20_000 / SCALE), "-P", 64, "-r", 10_000, "-q", "-t")
    run(*write, "set,lpush")
    replica = services.redis("--replicaof", f"127.0.0.1 {port}")
    until(lambda: redis_digest(replica.port) == redis_digest(primary.port), "the replica has all data")
    run(*write, "set,incr")
    until(lambda: redis_digest(replica.port) == redis_digest(primary.port), "the replica has all changes")
    assert b"sync_full:1\r\n" in run("redis-cli", "-p", primary.port, "info", "stats"), "the connection was lost"


# ---- iperf3 ----

STREAMS = {"up": [], "down": ["-R"], "both": ["--bidir"], "up 8": ["-P", "8"], "down 8": ["-R", "-P", "8"],
           "both 4": ["--bidir", "-P", "4"]}


@pytest.mark.parametrize("how", STREAMS)
def test_iperf3(relay, services, ring, how):
    server = services.iperf3()
    count = int(256_000_000 / SCALE)
    report = json.loads(server.measure(relay(server.target, ring), "-n", count, *STREAMS[how]))["end"]
    sums = [key for key in report if key.startswith("sum_")]
    assert len(sums) == (4 if "both" in how else 2), report
    for key in sums:
        assert report[key]["bytes"] > 0, f"{key} of {report}"
    sent = sum(report[key]["bytes"] for key in sums if "sent" in key)  # both ways: one of them ends when the other has
    assert sent >= count


# ---- nginx and HAProxy ----

FILE_SERVER = """
  server {
    listen 127.0.0.1:@PORT;
    root @DIR/files;
    location /put/ { dav_methods PUT; create_full_put_path on; }
    location = /hello { return 200 "hello $request_id"; }
  }
"""
MIDDLES = {
    "nginx": None,
    "nginx stream": ("nginx", "server { listen 127.0.0.1:@PORT; proxy_pass %s; }"),
    "haproxy tcp": ("haproxy", "listen middle\n  mode tcp\n  bind 127.0.0.1:@PORT\n  server files %s\n"),
    "haproxy http": ("haproxy", "listen middle\n  mode http\n  bind 127.0.0.1:@PORT\n  server files %s\n"),
}


@pytest.fixture
def file_server(services):
    """nginx with a large file."""
    server = services.nginx(FILE_SERVER)
    (server.path / "files/put").mkdir(parents=True)
    (server.path / "files/large").write_bytes(pattern(FILE_BYTES))
    return server


@pytest.fixture(params=MIDDLES)
def web(request, services, file_server):
    """What stands between the relay and the files: nothing, or another proxy. Its target."""
    middle = MIDDLES[request.param]
    if not middle:
        return file_server.target
    if middle[0] == "nginx":
        return services.nginx(stream=middle[1] % file_server.target).target
    return services.haproxy(middle[1] % file_server.target).target


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_downloads(relay, web, ring):
    """One after the other on one connection, then several at once."""
    url = f"http://127.0.0.1:{relay(web, ring)}/large"
    assert sha256(run("curl", "-sS", "--fail", url)) == sha256(pattern(FILE_BYTES))
    done = run("curl", "-sS", "--fail", "--parallel", *["-w", "%{size_download} "], *["-o", "/dev/null", url] * 4)
    assert done.decode().split() == [str(FILE_BYTES)] * 4


def test_uploads(relay, web, ring, file_server):
    url = f"http://127.0.0.1:{relay(web, ring)}/put/"
    source = file_server.path / "files/large"
    run("curl", "-sS", "--fail", "-T", source, url + "one")
    run("curl", "-sS", "--fail", "--parallel", "-T", "{%s,%s}" % (source, file_server.path / "nginx.conf"), url)
    for name, wanted in (("one", source), ("large", source), ("nginx.conf", file_server.path / "nginx.conf")):
        assert sha256((file_server.path / "files/put" / name).read_bytes()) == sha256(wanted.read_bytes())


@pytest.mark.parametrize("options", [[], ["-H", "Connection: close"]], ids=["kept", "closed"])
def test_many_small_requests(relay, web, options):
    url = f"http://127.0.0.1:{relay(web)}/hello?[1-300]"
    out = run("curl", "-sS", "--fail", "-w", "\n", *options, url).decode().split("\n")
    assert len(set(out) - {""}) == 300 and all(line.startswith("hello ") for line in out if line)


def test_haproxy_in_front(relay, services, file_server):
    """Its clients, and its checks that leave with RST, come through the relay."""
    port = relay(file_server.target)
    proxy = services.haproxy("listen front\n  mode http\n  bind 127.0.0.1:@PORT\n"
                             f"  server relay 127.0.0.1:{port} check inter 20ms\n")
    got = run("curl", "-sS", "--fail", f"http://{proxy.target}/large")
    assert sha256(got) == sha256(pattern(FILE_BYTES))


# ---- PostgreSQL ----

MAKE_TABLE = f"""
create table big as select i, md5(i::text) || md5((i + 1)::text) as text, i * 0.5 as half
  from generate_series(1, {ROWS}) as i
"""


@pytest.fixture(scope="module")
def table(database):
    """What COPY writes of the table `big`, asked for directly: its hash and length."""
    database.sql(database.port, MAKE_TABLE)
    out = database.sql(database.port, "copy big to stdout")
    assert len(out) > 70 * ROWS
    return hashlib.md5(out).hexdigest(), len(out)


def test_a_big_copy_out_and_in(relay, database, table, ring, tmp_path):
    port = relay(database.target, ring)
    out = database.sql(port, "copy big to stdout")
    assert (hashlib.md5(out).hexdigest(), len(out)) == table
    (tmp_path / "big").write_bytes(out)
    database.sql(port, "drop table if exists copied; create table copied (like big)")
    with open(tmp_path / "big", "rb") as data:
        database.sql(port, "copy copied from stdin", stdin=data)
    out = database.sql(database.port, "copy copied to stdout")
    assert (hashlib.md5(out).hexdigest(), len(out)) == table


def test_pgbench(relay, database, ring):
    """Many short connections, then statements on some that stay."""
    port = relay(database.target, ring)
    run(*pgbench(database, port, "-i", "-q"))
    for options, per_client in ((["-C", "-S"], 60), (["-S", "-M", "prepared"], 500), (["-M", "extended"], 100)):
        per_client = int(per_client / SCALE)
        out = run(*pgbench(database, port, "-n", "-c", 8, "-j", 2, "-t", per_client, *options)).decode()
        assert f"actually processed: {8 * per_client}/{8 * per_client}" in out, out
        assert "failed transactions: 0 " in out, out


def pgbench(database, port, *args):
    return ["pgbench", *database.client("pgbench", port, *args)[1:]]


def test_a_cancelled_query(relay, database):
    """psql asks for the cancellation on a second connection through the relay."""
    port = relay(database.target)
    done = []

    def wait():
        try:
            database.sql(port, "select pg_sleep(60)")
        except AssertionError as error:
            done.append(str(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    find = "select count(pg_cancel_backend(pid)) from pg_stat_activity where query = 'select pg_sleep(60)'"
    until(lambda: database.sql(port, find) == b"1\n", "the query runs")
    waiter.join(PATIENCE)
    assert "canceling statement" in done[0]


# ---- servers that speak first ----


def test_a_server_that_greets_first(relay, ring):
    """As SSH: the banner comes before the client has sent anything; the answer is the rest of the exchange."""
    backend = Backend()
    port = relay(backend.target, ring)

    def serve():
        upstreams = []
        for number in range(100):
            upstreams.append(backend.accept().send(f"SSH-2.0-Server_{number}\r\n"))
        for number, upstream in enumerate(upstreams):
            upstream.expect(f"SSH-2.0-Client_{number}\r\n").send(pattern(1500, number))

    server = threading.Thread(target=serve)
    server.start()
    clients = []
    for number in range(100):
        clients.append(dial(("127.0.0.1", port)))
        assert clients[-1].line() == f"SSH-2.0-Server_{number}\r"
    for number, client in enumerate(clients):
        client.send(f"SSH-2.0-Client_{number}\r\n")
    for number, client in enumerate(clients):
        client.expect(pattern(1500, number))
        client.close()
    server.join(PATIENCE)
    backend.close()


