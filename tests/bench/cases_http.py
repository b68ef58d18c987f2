"""Cases of HTTP: answers of a Lua handler, and a reverse proxy, against nginx, its Lua module, HAProxy and the floor."""

import re
import socket
import subprocess
from pathlib import Path

import measure
from measure import BENCH_DIR, Server

HELLO = b"hello, world\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
FLOOR = "floor"  # sends the request itself back

ZERG_CONFIG = """return {
  reactors = 1,
  pin_cpus = false,
  reactor = { incremental = %(incremental)s },
  %(upstreams)s
  listeners = { { address = "127.0.0.1", port = {port}, protocol = "http", %(work)s } },
  log = { level = "warn", file = "stderr" },
}
"""
ZERG_UPSTREAMS = 'upstreams = { app = { servers = { "127.0.0.1:{backend}" }, keepalive = 1024 } },'

# What nginx would end after 1000 requests, or 75 s, it keeps.
NGINX_CONFIG = """%(modules)s
daemon off;
master_process off;
worker_processes 1;
error_log stderr;
pid {dir}/nginx.pid;
events { worker_connections 16384; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  %(http)s
  server {
    listen 127.0.0.1:{port};
    location / { %(location)s }
  }
}
"""
NGINX_HELLO = r'return 200 "hello, world\n";'
# With Content-Length, which is cheaper than the chunks it would send.
NGINX_LUA_HELLO = r'content_by_lua_block { ngx.header.content_length = 13 ngx.print("hello, world\n") }'
NGINX_UPSTREAM = """upstream app {
    server 127.0.0.1:{backend};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }"""
NGINX_PROXY = 'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";'
HAPROXY_CONFIG = """global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 10s
  timeout client 10m
  timeout server 10m
  timeout http-keep-alive 10m
  http-reuse always
listen proxy
  bind 127.0.0.1:{port}
  server backend 127.0.0.1:{backend}
"""

SMALL_OPTIONS = ["--connections", "64"]
SMALL_REQUESTS = 20000
PIPELINED_OPTIONS = ["--connections", "64", "--pipeline", "16"]
PIPELINED_REQUESTS = 100000
CONNECT_OPTIONS = ["--connections", "64", "--new-connections", "--sources", "16"]
CONNECT_REQUESTS = 2000
CHECKED_REQUESTS = 2000  # of every server, compared byte for byte before it is measured
IDLE_CONNECTIONS = 10000

# Targets by peer; against the floor it is for information.
SMALL_TARGETS = {"nginx": 0.80, "floor": None, "openresty": 0.80}
PIPELINED_TARGETS = {"nginx": 0.20, "floor": None}
PROXY_TARGETS = {"nginx": 0.80, "haproxy": 0.80}
P99_MAX = 1.0  # of nginx's
CONNECT_MAX = 1.0  # of nginx's: a server that has a CPU full of new connections takes no fewer of them
IDLE_KB_MAX = 1.0


# Servers.


def zerg(bench, backend=None):
    config = ZERG_CONFIG % {
        "incremental": bench.options.incremental,
        "upstreams": ZERG_UPSTREAMS if backend else "",
        "work": 'forward = "app"' if backend else f'handler = "{BENCH_DIR / "hello.lua"}"',
    }
    command = [bench.options.zerg, "run", "-c", "{dir}/zerg.lua"]
    return Server("zerg", command, {"zerg.lua": config}, bench.options.server_cpu, backend)


def nginx(bench, backend=None, name="nginx", cpu=None):
    """Answers by itself, or is a proxy before a backend."""
    config = NGINX_CONFIG % {
        "modules": "",
        "http": NGINX_UPSTREAM if backend else "",
        "location": NGINX_PROXY if backend else NGINX_HELLO,
    }
    command = ["nginx", "-p", "{dir}", "-e", "stderr", "-c", "{dir}/nginx.conf"]
    cpu = bench.options.server_cpu if cpu is None else cpu
    return Server(name, command, {"nginx.conf": config}, cpu, backend)


def openresty(bench):
    """nginx with its Lua module, unpacked where tests/bench/openresty puts it."""
    root = bench.options.build_dir / "openresty"
    modules = [root / "usr/lib/nginx/modules" / f"{name}.so" for name in ("ndk_http_module", "ngx_http_lua_module")]
    libraries = next(iter(root.glob("usr/lib/*/libluajit-5.1.so.2")), None)
    if not libraries or not all(module.exists() for module in modules):
        raise measure.BenchError(f"nginx's Lua module is not in {root}: run tests/bench/openresty (or with {root})")
    config = NGINX_CONFIG % {
        "modules": "\n".join(f"load_module {module};" for module in modules),
        "http": f'lua_package_path "{root}/usr/share/lua/5.1/?.lua;;";',
        "location": NGINX_LUA_HELLO,
    }
    command = ["env", f"LD_LIBRARY_PATH={libraries.parent}", "nginx", "-p", "{dir}", "-e", "stderr"]
    return Server("openresty", [*command, "-c", "{dir}/nginx.conf"], {"nginx.conf": config}, bench.options.server_cpu)


def haproxy(bench, backend):
    command = ["haproxy", "-db", "-f", "{dir}/haproxy.cfg"]
    return Server("haproxy", command, {"haproxy.cfg": HAPROXY_CONFIG}, bench.options.server_cpu, backend)


PEERS = {
    "nginx": nginx,
    "openresty": lambda bench, _: openresty(bench),
    "haproxy": haproxy,
    "floor": lambda bench, _: bench.floor(FLOOR),
}


# Loads.


def answer_of(server):
    """One whole answer of the server, which has to be the right one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=measure.START_SECONDS) as client:
        client.sendall(REQUEST)
        answer = b""
        while not (found := re.search(rb"\r\n\r\n", answer)) or len(answer) < found.end() + len(HELLO):
            piece = client.recv(65536)
            if not piece:
                break
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"^content-length: *(\d+)\r?$", head, re.M | re.I)
    if not head.startswith(b"HTTP/1.1 200 ") or not length or int(length[1]) != len(HELLO) or body != HELLO:
        raise measure.BenchError(f"{server.name} answers {answer[:300]!r}")
    return answer


def masked(answer):
    """The answer with zero bytes, which stand for any, in place of the time."""
    return re.sub(rb"(?im)^(date: )(.*?)\r$", lambda found: found[1] + bytes(len(found[2])) + b"\r", answer)


def request_options(server):
    """What makes the load send requests to this server; its directory gets the files."""
    directory = Path(server.directory.name)
    expected = REQUEST if server.name == FLOOR else masked(answer_of(server))
    (directory / "request").write_bytes(REQUEST)
    (directory / "answer").write_bytes(expected)
    return ["--send-file", str(directory / "request"), "--expect-file", str(directory / "answer"), "--any-zero"]


def check_answers(bench, server, options):
    """Has the load compare every byte of some requests of the same shape."""
    command = [bench.programs["load"], "--port", str(server.port), *options]
    command += ["--verify", "--requests", str(CHECKED_REQUESTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=measure.RUN_SECONDS, check=False)
    if done.returncode != 0:
        raise measure.BenchError(f"answers of {server.name}: {done.stdout}{done.stderr}")


def make_load(bench, server, options):
    """The load on a server whose answers were found right; of what is measured only the length is compared."""
    options = [*options, *request_options(server)]
    check_answers(bench, server, options)
    return bench.load(server, options)


# Cases.


def need_peers():
    measure.need("nginx", "haproxy")


def compare(bench, name, peer, options, requests, target, backend=None, kind="work"):
    """zerg against one peer; gives the row."""
    options = [*options, "--requests", str(bench.scaled(requests))]
    return bench.compare(
        name,
        zerg(bench, backend),
        PEERS[peer](bench, backend),
        lambda server: make_load(bench, server, options),
        target,
        kind,
    )


def run_small(bench, name):
    need_peers()
    for peer, target in SMALL_TARGETS.items():
        row = compare(bench, name, peer, SMALL_OPTIONS, SMALL_REQUESTS, target)
        if peer == "nginx":
            bench.add_p99_row(row, P99_MAX)


def run_pipelined(bench, name):
    need_peers()
    for peer, target in PIPELINED_TARGETS.items():
        compare(bench, name, peer, PIPELINED_OPTIONS, PIPELINED_REQUESTS, target)


def run_connect(bench, name):
    """The rate is for information: the load, which has to connect and close as well, is busier than the server."""
    need_peers()
    row = compare(bench, name, "nginx", CONNECT_OPTIONS, CONNECT_REQUESTS, CONNECT_MAX, kind="connections")
    bench.add_rate_row(row)


def run_idle_memory(bench, name):
    need_peers()
    figures = {}
    for server in (zerg(bench), nginx(bench)):
        figures[server.name] = measure.idle_memory(
            server,
            lambda options, server=server: bench.load(server, [*options, *request_options(server)]),
            IDLE_CONNECTIONS,
        )
    bench.add_row(
        case=name,
        subject="zerg",
        peer="nginx",
        unit="KB/conn",
        value=figures["zerg"]["conn_kb"],
        peer_value=figures["nginx"]["conn_kb"],
        ratio=None,
        target=IDLE_KB_MAX,
        reached=figures["zerg"]["conn_kb"] <= IDLE_KB_MAX,
        detail=figures,
    )


def run_proxy(bench, name):
    """The backend, which shares the load's CPU, outlives the proxies."""
    need_peers()
    with nginx(bench, name="backend", cpu=bench.options.load_cpu) as backend:
        for peer, target in PROXY_TARGETS.items():
            compare(bench, name, peer, SMALL_OPTIONS, SMALL_REQUESTS, target, backend)


CASES = {
    "http-64": run_small,
    "http-pipelined": run_pipelined,
    "http-connect": run_connect,
    "http-idle-memory": run_idle_memory,
    "http-proxy-64": run_proxy,
}
