"""Servers, load and figures: what every case of a benchmark needs.

A server runs pinned to one CPU, its load to another. The figure that counts is the CPU time the server used, the
sum of the first fields of /proc/PID/task/*/schedstat, divided by the requests it answered: unlike a rate it does not
depend on what the load generator can do. Two servers are compared in one run, in short slices that take turns, so that
a machine that gets slower or faster meanwhile does so for both. Each pair of neighbouring slices gives one ratio; the
result is the median of all. Servers are started anew for each round: where their memory happens to lie shows otherwise.
"""

import contextlib
import csv
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

BENCH_DIR = Path(__file__).resolve().parent
ROOT = BENCH_DIR.parent.parent
START_SECONDS = 10  # for a server to accept, and to end after TERM
RUN_SECONDS = 120  # for one slice
PAIRS = ("AB", "BA", "BA", "AB")  # the slices of a round: a steady drift cancels out
STRACE_GRACE_SECONDS = 1.0  # attaching interrupts waiting calls, which are then made once more
C_FLAGS = ["-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", "-D_GNU_SOURCE"]


class BenchError(Exception):
    """Something that makes a figure impossible: a server that does not start, a load with errors."""


def build(build_dir):
    """Compiles the programs here when a source is newer than they are; returns their paths."""
    build_dir.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in [*BENCH_DIR.glob("*.c"), *BENCH_DIR.glob("*.h")])
    programs = {}
    for name in ("floor", "load", "bulk"):
        program = build_dir / name
        programs[name] = program
        if program.exists() and program.stat().st_mtime > newest:
            continue
        source = BENCH_DIR / f"{name}.c"
        subprocess.run(
            [os.environ.get("CC", "cc"), *C_FLAGS, "-pthread", "-o", program, source, "-luring"], check=True
        )
    return programs


def need(*programs):
    """Says which package is missing before anything is measured."""
    packages = {"redis-check-rdb": "redis-tools", "redis-benchmark": "redis-tools"}
    for program in programs:
        if shutil.which(program) is None:
            raise BenchError(f"{program} is not installed (package {packages.get(program, program)})")


def floor_kind():
    """Which buffer ring is the floor's: incremental from Linux 6.12 on."""
    major, minor = (int(part) for part in re.match(r"(\d+)\.(\d+)", platform.release()).groups())
    return "incremental" if (major, minor) >= (6, 12) else "plain"


def raise_open_files():
    """Raises the soft limit of open files; what is started from here inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port():
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_ns(pid):
    """CPU time all threads of a process have used, in nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            total += int((task / "schedstat").read_text().split()[0])
    return total


def memory_kb(pid):
    """Resident memory of a process in KiB: VmRSS, and PSS (shared pages divided among their users)."""
    status = Path(f"/proc/{pid}/status").read_text()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {
        "rss": int(re.search(r"^VmRSS:\s+(\d+)", status, re.M).group(1)),
        "pss": int(re.search(r"^Pss:\s+(\d+)", rollup, re.M).group(1)),
    }


def pinned(cpu):
    """For Popen's preexec_fn: the child runs on this CPU only."""
    return lambda: os.sched_setaffinity(0, {cpu})


def end_process(process):
    """TERM, and KILL if that is not heard."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """A server under measurement, from its start to its end (a context manager).

    The command is a list, with "{port}", "{dir}" (a directory of its own) and "{backend}" (the port of the server that it
    relays to, which runs already) replaced; files are written there first.
    """

    def __init__(self, name, command, files=None, cpu=0, backend=None):
        self.name = name
        self.command = command
        self.files = files or {}
        self.cpu = cpu
        self.backend = backend
        self.port = None
        self.process = None
        self.directory = None

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="zerg-bench-")
        self.port = free_port()
        for name, text in self.files.items():
            (Path(self.directory.name) / name).write_text(self._fill(text))
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [self._fill(str(word)) for word in self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory.name,
                preexec_fn=pinned(self.cpu),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end_process(self.process)
        self.directory.cleanup()

    def _fill(self, text):
        text = text.replace("{port}", str(self.port)).replace("{dir}", self.directory.name)
        return text.replace("{backend}", str(self.backend.port)) if self.backend else text

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended at start: {self.log()}")
            with contextlib.suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.02)
        raise BenchError(f"{self.name} does not accept on port {self.port}: {self.log()}")

    @property
    def log_path(self):
        return Path(self.directory.name) / "server.log"

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """The last lines of what it wrote."""
        return self.log_path.read_text(errors="replace")[-2000:]

    def cpu_ns(self):
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended during the measurement: {self.log()}")
        return cpu_ns(self.pid)


def parse_result(line):
    """`key=value key=value` as numbers."""
    return {key: float(value) for key, value in (pair.split("=") for pair in line.split())}


class Load:
    """The load generator, connected to one server and ready; run() makes one slice over the same connections."""

    def __init__(self, program, server, options, cpu=1):
        self.server = server
        self.command = [str(program), "--port", str(server.port), "--cpu", str(cpu), "--gate", *options]
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        line = self.process.stdout.readline()
        if line.strip() != "ready":
            self.__exit__()
            raise BenchError(f"load did not get ready against {self.server.name}: {' '.join(self.command)}")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run(self):
        """One slice; gives its figures, the server's CPU nanoseconds among them."""
        before = self.server.cpu_ns()
        self.process.stdin.write("go\n")
        line = self.process.stdout.readline()
        used = self.server.cpu_ns() - before
        if not line:
            raise BenchError(f"load gave up against {self.server.name}: {self.server.log()}")
        result = parse_result(line)
        if result["errors"] or not result["requests"]:
            raise BenchError(f"load saw errors against {self.server.name}: {line.strip()}")
        result["cpu_ns"] = used
        return result


class RedisLoad:
    """redis-benchmark against one server; run() makes one slice of ping (both forms), set and get."""

    def __init__(self, server, requests, pipeline, cpu=1):
        self.server = server
        self.cpu = cpu
        self.command = ["redis-benchmark", "-p", str(server.port), "-t", "ping,set,get", "--csv"]
        self.command += ["-r", "10000", "-n", str(requests), "-P", str(pipeline)]
        self.requests = requests

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self):
        before = self.server.cpu_ns()
        done = subprocess.run(
            self.command,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            preexec_fn=pinned(self.cpu),
            check=False,
        )
        used = self.server.cpu_ns() - before
        rows = list(csv.DictReader(done.stdout.splitlines()))
        if done.returncode != 0 or len(rows) != 4:  # an error reply ends it with 1
            raise BenchError(f"redis-benchmark against {self.server.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
        total = self.requests * len(rows)
        return {
            "requests": total,
            "cpu_ns": used,
            "requests_per_s": total / sum(self.requests / float(row["rps"]) for row in rows),
            "p50_us": statistics.median(float(row["p50_latency_ms"]) for row in rows) * 1000,
            "p99_us": statistics.median(float(row["p99_latency_ms"]) for row in rows) * 1000,
        }


def _side(slices):
    """The figures of one server in one round."""
    requests = sum(part["requests"] for part in slices)
    return {
        "us": sum(part["cpu_ns"] for part in slices) / requests / 1000,
        "rate": statistics.median(part["requests_per_s"] for part in slices),
        "p50_us": statistics.median(part["p50_us"] for part in slices),
        "p99_us": statistics.median(part["p99_us"] for part in slices),
    }


def _run_round(loads):
    """One round after a slice each to warm up: the slices of A, those of B, the ratio of each pair."""
    slices = {"A": [], "B": []}
    for load in loads.values():
        load.run()
    for pair in PAIRS:
        for which in pair:
            slices[which].append(loads[which].run())
    ratios = [
        (one["cpu_ns"] / one["requests"]) / (other["cpu_ns"] / other["requests"])
        for one, other in zip(slices["A"], slices["B"])
    ]
    return slices["A"], slices["B"], ratios


def compare(started, rounds, report):
    """Compares two servers. started() is a context manager that gives the loads of A and B, servers just started.

    Calls report(number, a, b, ratio) after each round; returns medians, all ratios, and the median ratio of each round,
    with those of latencies and rates.
    """
    subjects, peers, ratios, round_ratios = [], [], [], []
    for number in range(1, rounds + 1):
        with started() as (subject_load, peer_load):
            subject, peer, pairs = _run_round({"A": subject_load, "B": peer_load})
        subjects.append(_side(subject))
        peers.append(_side(peer))
        ratios.extend(pairs)
        round_ratios.append(statistics.median(pairs))
        report(number, subjects[-1], peers[-1], round_ratios[-1])
    return {
        "subject": _medians(subjects),
        "peer": _medians(peers),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "round_ratios": round_ratios,
        "p99_ratios": [one["p99_us"] / other["p99_us"] for one, other in zip(subjects, peers)],
        "rate_ratios": [one["rate"] / other["rate"] for one, other in zip(subjects, peers)],
    }


def _medians(sides):
    return {key: statistics.median(side[key] for side in sides) for key in sides[0]}


def idle_memory(server, make_load, connections):
    """KiB resident at start, and growth for each of many idle connections that made one exchange.

    make_load(options) gives the load on the server, which this starts and ends.
    """
    with server:
        start = memory_kb(server.pid)
        with make_load(["--connections", "1", "--requests", "1"]) as load:
            load.run()  # what the first connection ever touches is not a cost of each
        before = memory_kb(server.pid)
        with make_load(["--connections", str(connections), "--requests", str(connections), "--sources", "4"]) as load:
            after = memory_kb(server.pid)
            load.run()  # all of them are still alive and answer
    return {
        "start_mb": start["rss"] / 1024,
        "start_pss_mb": start["pss"] / 1024,
        "conn_kb": (after["rss"] - before["rss"]) / connections,
        "conn_pss_kb": (after["pss"] - before["pss"]) / connections,
    }


def idle_syscalls(pid, seconds):
    """System calls of each thread of a process over some seconds: {"name/tid": count}, every thread present.

    Counted from strace's time stamps and not by `strace -c`, because attaching itself interrupts each wait once.
    """
    names = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        names[task.name] = (task / "comm").read_text().strip()
    counts = dict.fromkeys(names, 0)
    with tempfile.NamedTemporaryFile(prefix="zerg-strace-") as out:
        tracer = subprocess.Popen(
            ["strace", "-f", "-ttt", "-o", out.name, "-p", str(pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        start = time.time() + STRACE_GRACE_SECONDS
        time.sleep(STRACE_GRACE_SECONDS + seconds)
        if tracer.poll() is not None:
            raise BenchError(f"strace: {tracer.stderr.read().decode(errors='replace').strip()}")
        tracer.send_signal(signal.SIGINT)
        tracer.wait(START_SECONDS)
        for line in Path(out.name).read_text(errors="replace").splitlines():
            tid, stamp, rest = line.split(maxsplit=2)
            ended = not rest.endswith("<unfinished ...>") and not rest.startswith(("+++", "---"))
            if ended and "<detached" not in rest and start <= float(stamp) < start + seconds:
                counts[tid] = counts.get(tid, 0) + 1
    return {f"{names.get(tid, '?')}/{tid}": count for tid, count in counts.items()}
