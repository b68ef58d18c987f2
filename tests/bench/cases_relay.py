"""Cases of a TCP relay: zerg's `forward` against nginx stream, HAProxy and the floor, all before the same backend."""

from pathlib import Path

import measure
from measure import Server

ZERG_CONFIG = """return {
  reactors = 1,
  pin_cpus = false,
  reactor = { incremental = %(incremental)s, recv_buffer_size = "%(buffers)s" },
  listeners = { { address = "127.0.0.1", port = {port}, forward = "127.0.0.1:{backend}" } },
  log = { level = "warn", file = "stderr" },
}
"""
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NGINX_CONFIG = """load_module %s;
daemon off;
master_process off;
worker_processes 1;
error_log stderr;
pid {dir}/nginx.pid;
events { worker_connections 4096; }
stream {
  access_log off;
  server { listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{backend}; }
}
"""
HAPROXY_CONFIG = """global
  nbthread 1
  maxconn 4096
defaults
  mode tcp
  timeout connect 10s
  timeout client 10m
  timeout server 10m
listen relay
  bind 127.0.0.1:{port}
  server backend 127.0.0.1:{backend}
"""

# A message of the load is a request of one byte for a megabyte, or a megabyte that is acknowledged with one byte; eight
# of them follow without a pause. (bytes there, bytes back)
MEGABYTE = 1000 * 1000
BULK_CASES = {"relay-bulk-down": (1, MEGABYTE), "relay-bulk-up": (MEGABYTE, 1)}
BULK_CONNECTIONS = 8
BULK_DEPTH = 8
BULK_MESSAGES = 1600  # in a slice
# What the default, incremental buffers of 256 KiB, is compared with: sizes, and whether incremental.
OTHER_BUFFERS = [("4k", "false"), ("16k", "false"), ("16k", None), ("64k", None), ("1m", None)]
SMALL_OPTIONS = ["--connections", "64"]
SMALL_REQUESTS = 20000
# Targets by peer; against the floor it is for information.
SMALL_TARGETS = {"nginx": 0.97, "haproxy": 0.93, "floor": None}
BULK_TARGETS = {"nginx": 0.50, "haproxy": None, "floor": None}


def zerg(bench, backend, buffers="auto", incremental=None):
    config = ZERG_CONFIG % {
        "incremental": incremental or bench.options.incremental,
        "buffers": buffers,
    }
    command = [bench.options.zerg, "run", "-c", "{dir}/zerg.lua"]
    name = "zerg" if buffers == "auto" else f"zerg {buffers}{' plain' if incremental == 'false' else ''}"
    return Server(name, command, {"zerg.lua": config}, bench.options.server_cpu, backend)


def nginx(bench, backend):
    command = ["nginx", "-p", "{dir}", "-e", "stderr", "-c", "{dir}/nginx.conf"]
    return Server("nginx", command, {"nginx.conf": NGINX_CONFIG % NGINX_STREAM}, bench.options.server_cpu, backend)


def haproxy(bench, backend):
    command = ["haproxy", "-db", "-f", "{dir}/haproxy.cfg"]
    return Server("haproxy", command, {"haproxy.cfg": HAPROXY_CONFIG}, bench.options.server_cpu, backend)


def floor(bench, backend):
    command = [bench.programs["floor"], "--port", "{port}", "--forward", "{backend}"]
    command += ["--incremental"] if bench.options.floor == "incremental" else []
    return Server("floor", command, None, bench.options.server_cpu, backend)


PEERS = {"nginx": nginx, "haproxy": haproxy, "floor": floor}


def need_peers():
    measure.need("nginx", "haproxy")
    if not NGINX_STREAM.exists():
        raise measure.BenchError(f"{NGINX_STREAM} is missing (package libnginx-mod-stream)")


def compare(bench, name, backend, options, targets, kind="work"):
    """zerg against each peer in turn; the backend, which shares the load's CPU, outlives them."""
    need_peers()
    with backend:
        for peer, target in targets.items():
            bench.compare(
                name,
                zerg(bench, backend),
                PEERS[peer](bench, backend),
                lambda server: bench.load(server, options),
                target,
                kind,
            )


def run_small(bench, name):
    """64-byte messages that a backend sends back."""
    command = [bench.programs["floor"], "--port", "{port}"]
    backend = Server("backend", command, cpu=bench.options.load_cpu)
    options = [*SMALL_OPTIONS, "--requests", str(bench.scaled(SMALL_REQUESTS))]
    compare(bench, name, backend, options, SMALL_TARGETS)


def bulk(bench, there, back):
    """The backend of a bulk case, and the options of its load."""
    command = [bench.programs["bulk"], "--port", "{port}", "--take", there, "--give", back]
    backend = Server("backend", command, cpu=bench.options.load_cpu)
    options = ["--connections", BULK_CONNECTIONS, "--pipeline", BULK_DEPTH, "--size", there, "--expect-bytes", back]
    options += ["--discard", "--requests", bench.scaled(BULK_MESSAGES)]
    return backend, [str(option) for option in options]


def run_bulk(bench, name):
    """CPU time for each gigabyte in one direction."""
    compare(bench, name, *bulk(bench, *BULK_CASES[name]), BULK_TARGETS, "bulk")


def run_buffers(bench, name):
    """The same download with receive buffers of other sizes than the default, against the default."""
    backend, options = bulk(bench, *BULK_CASES["relay-bulk-down"])
    with backend:
        for buffers, incremental in OTHER_BUFFERS:
            bench.compare(
                name,
                zerg(bench, backend, buffers, incremental),
                zerg(bench, backend),
                lambda server: bench.load(server, options),
                None,
                "bulk",
            )


CASES = {"relay-64x64": run_small, **dict.fromkeys(BULK_CASES, run_bulk), "relay-buffers": run_buffers}
