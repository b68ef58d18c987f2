"""The cases: which servers, which load, which target (targets of the design are ratios to a peer in one run)."""

import contextlib
import re
import statistics
import sys

import cases_http
import cases_relay
import measure
from measure import BENCH_DIR, ROOT, Load, RedisLoad, Server

IDLE_CONNECTIONS = 10000
IDLE_SYSCALL_CONNECTIONS = 100
IDLE_SECONDS = 5
QUICK_DIVISOR = 2

ZERG_CONFIG = """return {
  reactors = 1,
  pin_cpus = false,
  reactor = { incremental = %(incremental)s },
  listeners = { { address = "127.0.0.1", port = {port}, handler = "%(handler)s" } },
  lua_path = "%(directory)s/?.lua",
  log = { level = "warn", file = "stderr" },
}
"""

# name: (options of load, requests in a slice, target)
ECHO_CASES = {
    "echo-64x64": (["--connections", "64"], 30000, 1.05),
    "echo-64x256": (["--connections", "256"], 30000, 1.05),
    "echo-pipelined": (["--connections", "64", "--pipeline", "16"], 400000, 1.3),
}
CONNECT_OPTIONS = ["--connections", "64", "--new-connections", "--sources", "16"]
CONNECT_REQUESTS = 2000
# name: (pipeline, requests of each of redis-benchmark's four tests in a slice, target)
KV_CASES = {"kv-p1": (1, 10000, 0.97), "kv-p16": (16, 100000, 0.85)}
IDLE_KB_MAX = 2.5
START_MB_MAX = 16
# What the CPU time is for each of: load's request is a megabyte in bulk cases.
UNITS = {"work": "us/req", "connections": "us/conn", "bulk": "ms/GB"}
DATA_THREAD = re.compile(r"zerg-r\d+/")  # as they name themselves


class Bench:
    """Options of the run, the programs it uses, and the rows it collects."""

    def __init__(self, options):
        self.options = options
        self.programs = measure.build(options.build_dir)
        self.rows = []

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def scaled(self, requests):
        return requests // QUICK_DIVISOR if self.options.quick else requests

    # Servers.

    def floor(self, name="floor", incremental=None, extra_ns=0):
        if incremental is None:
            incremental = self.options.floor == "incremental"
        command = [self.programs["floor"], "--port", "{port}", "--extra-ns", extra_ns]
        command += ["--incremental"] if incremental else []
        return Server(name, command, cpu=self.options.server_cpu)

    def zerg(self, handler):
        config = ZERG_CONFIG % {
                "incremental": self.options.incremental,
            "handler": handler,
            "directory": handler.parent,
        }
        command = [self.options.zerg, "run", "-c", "{dir}/zerg.lua"]
        return Server("zerg", command, files={"zerg.lua": config}, cpu=self.options.server_cpu)

    def redis(self, name="redis"):
        # redis-check-rdb, of redis-tools, is the same program: called by this name it is the server, so that no package
        # is needed that starts a service.
        command = ["bash", "-c", 'exec -a redis-server redis-check-rdb "$@"', "redis-server"]
        command += ["--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return Server(name, command, cpu=self.options.server_cpu)

    # Loads.

    def load(self, server, options):
        return Load(self.programs["load"], server, options, cpu=self.options.load_cpu)

    # Comparing.

    def compare(self, case, subject, peer, make_load, target, kind="work"):
        """Compares two servers under the same load, adds and returns a row."""
        unit = UNITS[kind]

        def report(number, one, other, ratio):
            self.say(
                f"  {case} round {number}/{self.options.rounds}: {subject.name} {one['us']:.3f} {peer.name} "
                f"{other['us']:.3f} {unit}, ratio {ratio:.3f}"
            )

        @contextlib.contextmanager
        def started():
            with subject, peer, make_load(subject) as subject_load, make_load(peer) as peer_load:
                yield subject_load, peer_load

        result = measure.compare(started, self.options.rounds, report)
        one, other = result["subject"], result["peer"]
        return self.add_row(
            case=case,
            subject=subject.name,
            peer=peer.name,
            unit=unit,
            value=one["us"],
            peer_value=other["us"],
            ratio=result["ratio"],
            ratios=result["ratios"],
            round_ratios=result["round_ratios"],
            p99_ratios=result["p99_ratios"],
            rate_ratios=result["rate_ratios"],
            target=target,
            reached=None if target is None else result["ratio"] <= target,
            p99_us=one["p99_us"],
            peer_p99_us=other["p99_us"],
            rate=one["rate"],
            peer_rate=other["rate"],
        )

    def add_p99_row(self, row, target):
        """Makes a target of the latencies of a comparison: at most so many times the peer's."""
        ratio = statistics.median(row["p99_ratios"])
        return self.add_row(
            case=f"{row['case']} p99",
            subject=row["subject"],
            peer=row["peer"],
            unit="us",
            value=row["p99_us"],
            peer_value=row["peer_p99_us"],
            ratio=ratio,
            round_ratios=row["p99_ratios"],
            target=target,
            reached=ratio <= target,
        )

    def add_rate_row(self, row):
        """Shows the rates of a comparison, for information."""
        return self.add_row(
            case=f"{row['case']} rate",
            subject=row["subject"],
            peer=row["peer"],
            unit="1/s",
            value=row["rate"],
            peer_value=row["peer_rate"],
            ratio=statistics.median(row["rate_ratios"]),
            round_ratios=row["rate_ratios"],
            target=None,
            reached=None,
        )

    def add_row(self, **row):
        self.rows.append(row)
        return row


def echo_case(bench, name, subject, peer, target=None):
    """One of ECHO_CASES between two servers."""
    options, requests, usual_target = ECHO_CASES[name]
    options = [*options, "--requests", str(bench.scaled(requests))]
    return bench.compare(name, subject, peer, lambda server: bench.load(server, options), target or usual_target)


def run_echo(bench, name):
    options, requests, target = ECHO_CASES[name]
    options = [*options, "--requests", str(bench.scaled(requests))]
    zerg = bench.zerg(bench.options.handler)
    bench.compare(name, zerg, bench.floor(), lambda server: bench.load(server, options), target)


def run_connect(bench, name):
    options = [*CONNECT_OPTIONS, "--requests", str(bench.scaled(CONNECT_REQUESTS))]
    zerg = bench.zerg(bench.options.handler)
    bench.compare(name, zerg, bench.floor(), lambda server: bench.load(server, options), None, "connections")


def run_kv(bench, name):
    pipeline, requests, target = KV_CASES[name]
    measure.need("redis-check-rdb", "redis-benchmark")

    def make_load(server):
        return RedisLoad(server, bench.scaled(requests), pipeline, cpu=bench.options.load_cpu)

    zerg = bench.zerg(ROOT / "examples" / "kv.lua")
    bench.compare(name, zerg, bench.redis(), make_load, target)


def idle_memory(bench, server):
    return measure.idle_memory(server, lambda options: bench.load(server, options), IDLE_CONNECTIONS)


def run_idle_memory(bench, name):
    zerg = idle_memory(bench, bench.zerg(bench.options.handler))
    floor = idle_memory(bench, bench.floor())
    bench.say(f"  {name}: PSS: at start {zerg['start_pss_mb']:.1f} MB, each connection {zerg['conn_pss_kb']:.2f} KB")
    for case, key, unit, target in (
        ("idle-memory", "conn_kb", "KB/conn", IDLE_KB_MAX),
        ("start-memory", "start_mb", "MB", START_MB_MAX),
    ):
        bench.add_row(
            case=case,
            subject="zerg",
            peer="floor",
            unit=unit,
            value=zerg[key],
            peer_value=floor[key],
            ratio=None,
            target=target,
            reached=zerg[key] <= target,
            detail=zerg,
        )


def idle_calls(bench, server):
    """System calls of each thread of a server that holds some idle connections."""
    measure.need("strace")
    connections = str(IDLE_SYSCALL_CONNECTIONS)
    with server, bench.load(server, ["--connections", connections, "--requests", connections]) as load:
        counts = measure.idle_syscalls(server.pid, IDLE_SECONDS)
        load.run()  # the connections were alive
    return counts


def run_idle_syscalls(bench, name):
    """Calls of reactors count; those of the other threads are shown."""
    counts = idle_calls(bench, bench.zerg(bench.options.handler))
    if not any(DATA_THREAD.match(thread) for thread in counts):
        raise measure.BenchError(f"no thread is named like a reactor: {', '.join(counts)}")
    shown = ", ".join(f"{thread} {count}" for thread, count in sorted(counts.items()))
    bench.say(f"  {name}: calls in {IDLE_SECONDS} s by thread: {shown}")
    total = sum(count for thread, count in counts.items() if DATA_THREAD.match(thread))
    bench.add_row(
        case=name,
        subject="zerg",
        peer=None,
        unit="calls",
        value=total,
        peer_value=None,
        ratio=None,
        target=0,
        reached=total == 0,
        detail=counts,
    )


CASES = {
    **dict.fromkeys(ECHO_CASES, run_echo),
    "connect": run_connect,
    **dict.fromkeys(KV_CASES, run_kv),
    "idle-memory": run_idle_memory,
    "idle-syscalls": run_idle_syscalls,
    **cases_relay.CASES,
    **cases_http.CASES,
}


def select(words):
    """The cases that the words name, whole or by their beginning ("echo", "kv"), in the order of CASES."""
    unknown = [word for word in words if not any(name.startswith(word) for name in CASES)]
    if unknown:
        raise measure.BenchError(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    return [name for name in CASES if not words or name.startswith(tuple(words))]


DEFAULT_HANDLER = BENCH_DIR / "echo.lua"
