"""The measuring measured: the floor in both roles must come out equal, a known slowness must show, content must be
right, and what counts system calls must see those of a server that makes some."""

import subprocess
from pathlib import Path

import cases_http
from cases import ECHO_CASES, KV_CASES, RedisLoad, echo_case, idle_calls, idle_memory
from measure import BenchError, idle_syscalls

EQUAL_WITHIN = 0.03
EQUAL_WITHIN_QUICK = 0.06
EXTRA_NS = 500  # burnt for each request by the slowed floor
EXTRA_SEEN_MIN = 0.6  # of it must be found again, in CPU time per request
EXTRA_SEEN_MAX = 1.6

CONTENT_SHAPES = (
    ["--size", "1", "--requests", "2000"],
    ["--size", "64", "--pipeline", "16", "--requests", "16000"],
    ["--size", "5000", "--pipeline", "3", "--requests", "3000"],
    ["--size", "1048576", "--connections", "4", "--requests", "20"],
    ["--new-connections", "--requests", "500"],
)


def check_content(bench, name, incremental):
    with bench.floor(incremental=incremental) as server:
        for shape in CONTENT_SHAPES:
            command = [bench.programs["load"], "--port", str(server.port), "--verify", *shape]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode != 0:
                return f"{name}: {' '.join(shape)}: {done.stdout}{done.stderr}"
    return None


def check_equal(bench, row):
    within = EQUAL_WITHIN_QUICK if bench.options.quick else EQUAL_WITHIN
    row.update(target=1.0, reached=abs(row["ratio"] - 1) <= within)
    if row["reached"]:
        return None
    return f"{row['case']}: the same program in both roles gave {row['ratio']:.3f}, not 1 within {within}"


def check_extra(row):
    seen = (row["value"] - row["peer_value"]) * 1000 / EXTRA_NS
    if EXTRA_SEEN_MIN <= seen <= EXTRA_SEEN_MAX:
        return None
    return f"{row['case']}: of {EXTRA_NS} ns burnt for each request {seen:.2f} times as much was seen"


def check_redis(bench):
    pipeline, requests, _ = KV_CASES["kv-p16"]

    def make_load(server):
        return RedisLoad(server, bench.scaled(requests), pipeline, cpu=bench.options.load_cpu)

    return bench.compare("null kv-p16", bench.redis(), bench.redis("redis again"), make_load, None)


def check_http_content(bench):
    """The answers of nginx are right in every shape of load, and a wrong one would be noticed."""
    with cases_http.nginx(bench) as server:
        for shape in (cases_http.SMALL_OPTIONS, cases_http.PIPELINED_OPTIONS, cases_http.CONNECT_OPTIONS):
            options = [*shape, *cases_http.request_options(server)]
            cases_http.check_answers(bench, server, options)
            answer = Path(options[options.index("--expect-file") + 1])
            answer.write_bytes(answer.read_bytes().replace(b"world", b"World"))
            try:
                cases_http.check_answers(bench, server, options)
            except BenchError:
                continue
            return f"http: {' '.join(shape)}: a byte of the answer was wrong and not noticed"
    return None


def check_http(bench):
    cases_http.need_peers()
    yield check_http_content(bench)
    options = [*cases_http.SMALL_OPTIONS, "--requests", str(bench.scaled(cases_http.SMALL_REQUESTS))]
    yield check_equal(
        bench,
        bench.compare(
            "null http-64",
            cases_http.nginx(bench),
            cases_http.nginx(bench, name="nginx again"),
            lambda server: cases_http.make_load(bench, server, options),
            None,
        ),
    )


def run(bench):
    """Runs every check; returns the list of what failed."""
    failures = [
        check_content(bench, "floor plain", incremental=False),
        check_content(bench, "floor incremental", incremental=True),
    ]
    for name in ECHO_CASES:
        row = echo_case(bench, name, bench.floor(incremental=False), bench.floor("floor again", incremental=False))
        row.update(case=f"null {name}")
        failures.append(check_equal(bench, row))
    row = echo_case(bench, "echo-64x64", bench.floor("slowed", extra_ns=EXTRA_NS), bench.floor())
    row.update(case=f"slowed by {EXTRA_NS} ns", target=None, reached=None)
    failures.append(check_extra(row))
    for name in ECHO_CASES:
        row = echo_case(
            bench, name, bench.floor("incremental", incremental=True), bench.floor("plain", incremental=False)
        )
        row.update(case=f"rings {name}", target=None, reached=None)
    try:
        failures.append(check_equal(bench, check_redis(bench)))
        failures.extend(check_idle(bench))
        failures.extend(check_http(bench))
    except BenchError as missing:
        failures.append(str(missing))
    return [failure for failure in failures if failure]


def check_idle(bench):
    """The floor makes no call and no page while idle; redis, with its ten ticks a second, is seen to make some."""
    floor, redis = sum(idle_calls(bench, bench.floor()).values()), idle_redis(bench)
    memory = idle_memory(bench, bench.floor())
    bench.say(f"  idle calls: floor {floor}, redis {redis}; floor memory {memory['start_mb']:.1f} MB at start, "
              f"{memory['conn_kb']:.3f} KB for each connection")
    if floor != 0:
        yield f"idle-syscalls: {floor} calls of an idle floor"
    if redis < 10:
        yield f"idle-syscalls: only {redis} calls seen of redis, which ticks ten times a second"


def idle_redis(bench):
    with bench.redis() as server:
        return sum(idle_syscalls(server.pid, 2).values())
