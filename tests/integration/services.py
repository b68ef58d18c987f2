"""Real servers that stand beside zerg in a test: redis, nginx, HAProxy, PostgreSQL, iperf3, node. Each runs in the
foreground in a temporary directory of its own, on ports of its own, and ends with the test.

In the text of a configuration and in arguments, @PORT stands for a free port, as do @PORT2, @PORT3 and so on for more,
and @DIR for the server's directory.
"""

import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from harness import free_port
from peer import PATIENCE, SCALE, until

PACKAGES = {"redis-check-rdb": "redis-tools", "redis-benchmark": "redis-tools", "redis-cli": "redis-tools",
            "nginx": "nginx", "haproxy": "haproxy", "iperf3": "iperf3", "curl": "curl", "wrk": "wrk",
            "ab": "apache2-utils", "h2load": "nghttp2-client", "node": "node-ws", "postgres": "postgresql",
            "initdb": "postgresql", "psql": "postgresql", "pgbench": "postgresql"}
PLACES = ["/usr/local/sbin", "/usr/sbin", "/sbin"]  # of servers, not in everybody's PATH


def program(name):
    """Its path; that it is missing is a failure which says what to install."""
    versions = sorted(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)  # Debian's place
    path = shutil.which(name, path=os.pathsep.join([*versions, os.environ.get("PATH", os.defpath), *PLACES]))
    assert path, f"{name} is not installed: it is in the package {PACKAGES[name]} (scripts/setup test)"
    return path


def run(name, *args, timeout=60, **kwargs):
    """Runs a client to its end; its failure is the test's, with what it printed."""
    done = subprocess.run([program(name), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout * SCALE, check=False, **kwargs)
    if done.returncode != 0:
        said = done.stdout[-4000:].decode(errors="replace") + done.stderr[-4000:].decode(errors="replace")
        raise AssertionError(f"{name} {' '.join(map(str, args))} ended with {done.returncode}:\n{said}")
    return done.stdout


class Service:
    """One running server. `ports` are those that were chosen, by what stood for them."""

    END = signal.SIGTERM

    def __init__(self, files=None, user=None):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="zerg-peer-"))
        self.user = user  # who runs it; None: who runs the tests
        self.ports = {}
        self.process = None
        for name, text in (files or {}).items():
            (self.path / name).write_text(self.filled(text))
        self.give(self.path)

    @property
    def port(self):
        return self.ports["@PORT"]

    @property
    def target(self):
        return self.target_of("@PORT")

    def target_of(self, name):
        """As `forward` wants it."""
        return f"127.0.0.1:{self.ports[name]}"

    def filled(self, text):
        for name in re.findall(r"@PORT\d*", text):
            if name not in self.ports:
                self.ports[name] = free_port()
        text = re.sub(r"@PORT\d*", lambda match: str(self.ports[match[0]]), text)
        return text.replace("@DIR", str(self.path))

    def give(self, path):
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def identity(self):
        """Options of subprocess: as whom."""
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}

    # ---- its life ----

    def start(self, name, *args, called=None):
        """Starts the program; `called` is what it finds as its own name."""
        self.executable = program(name)
        # The whole path, by which PostgreSQL finds its other files.
        self.command = [called or self.executable, *[self.filled(str(arg)) for arg in args]]
        return self.run_again()

    def run_again(self):
        """Starts it as it was started before, and waits until it serves."""
        with open(self.path / "log", "ab") as out:
            self.process = subprocess.Popen(self.command, executable=self.executable, cwd=self.path,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            **self.identity())
        until(self.alive_and_ready, f"{self.command[0]} ready")
        return self

    def alive_and_ready(self):
        assert self.process.poll() is None, f"{self.command[0]} ended with {self.process.returncode}:\n{self.log()}"
        return self.is_ready()

    def is_ready(self):
        """Every port takes connections."""
        return all(map(self.accepts, self.ports.values()))

    @staticmethod
    def accepts(port):
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            return True
        except (ConnectionRefusedError, ConnectionResetError):
            return False

    def log(self):
        return (self.path / "log").read_text(errors="replace") if (self.path / "log").exists() else ""

    def kill(self):
        """As a crash: without a word to its clients but what the kernel says."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self):
        """Ends it in order. One that will not is killed, and that is a failure."""
        if not self.process or self.process.poll() is not None:
            return
        self.process.send_signal(self.END)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command[0]} did not end:\n{self.log()[-4000:]}") from None

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Iperf3(Service):
    """Serves one test at a time, and listens anew after each: a mere connection would count as a failed one."""

    runs = 0

    def is_ready(self):
        return self.log().count("Server listening") > self.runs

    def measure(self, port, *args):
        """Runs the client on this port; returns its report."""
        out = run("iperf3", "-c", "127.0.0.1", "-p", port, "-J", *args)
        self.runs += 1
        until(self.alive_and_ready, "iperf3 listening again")
        return out


class Postgres(Service):
    """A database `postgres` without passwords. Refuses to run as root, so it gets another user then."""

    END = signal.SIGINT  # disconnects clients; SIGTERM would wait for them
    CONFIG = """
listen_addresses = '127.0.0.1'
port = @PORT
unix_socket_directories = '@DIR'
max_connections = 120
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
max_wal_size = 4GB
"""

    @staticmethod
    def unprivileged():
        if os.geteuid() != 0:
            return None
        names = [user.pw_name for user in pwd.getpwall()]
        return pwd.getpwnam("postgres" if "postgres" in names else "nobody")

    def initialize(self):
        run("initdb", "-D", self.path / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
            "--no-sync", "--no-instructions", cwd=self.path, **self.identity())
        with open(self.path / "data/postgresql.conf", "a", encoding="ascii") as out:
            out.write(self.filled(self.CONFIG))

    def is_ready(self):
        """It takes connections before it serves them."""
        command = self.client("psql", self.port, "-Atc", "select 1", database="postgres")
        return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode == 0

    @staticmethod
    def client(name, port, *args, database="postgres"):
        """The command line of one of its clients; its own wrapper in PATH would choose among installed versions."""
        return [program(name), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", *map(str, args), database]

    @staticmethod
    def sql(port, text, **kwargs):
        """Runs statements, returns what they print."""
        return run("psql", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", "postgres", "-X", "-q", "-At",
                   "-v", "ON_ERROR_STOP=1", "-c", text, **kwargs)


NGINX = """
daemon off;
worker_processes 1;
pid @DIR/nginx.pid;
error_log stderr notice;
{top}
events {{ worker_connections 4096; }}
{http}
{stream}
"""
NGINX_HTTP = """
http {{
  access_log off;
  client_body_temp_path @DIR/body;
  proxy_temp_path @DIR/proxy;
  fastcgi_temp_path @DIR/fastcgi;
  uwsgi_temp_path @DIR/uwsgi;
  scgi_temp_path @DIR/scgi;
  client_max_body_size 1g;
  sendfile on;
{text}
}}
"""
NGINX_STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"  # where Debian has it as a module

HAPROXY = """
global
  maxconn 4000
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
{text}
"""


class Services:
    """Starts servers, and ends them when it is told."""

    def __init__(self):
        self.running = []

    def adopt(self, service):
        self.running.append(service)
        return service

    def redis(self, *options):
        """redis-check-rdb is the same program: called by this name it is the server, so no package is needed that
        starts a service."""
        return self.adopt(Service()).start(
            "redis-check-rdb", "--port", "@PORT", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0", "--dir", "@DIR", *options,
            called="redis-server")

    def nginx(self, http="", stream=""):
        """With what stands in its http and stream blocks."""
        top = "user root;\n" if os.geteuid() == 0 else ""  # else its worker could not read @DIR
        if stream and os.path.exists(NGINX_STREAM_MODULE):
            top += f"load_module {NGINX_STREAM_MODULE};\n"
        text = NGINX.format(top=top, http=NGINX_HTTP.format(text=http) if http else "",
                            stream=f"stream {{ {stream} }}" if stream else "")
        service = self.adopt(Service({"nginx.conf": text}))
        return service.start("nginx", "-p", "@DIR", "-e", "stderr", "-c", "@DIR/nginx.conf")

    def haproxy(self, text):
        """With these sections."""
        service = self.adopt(Service({"haproxy.cfg": HAPROXY.format(text=text)}))
        return service.start("haproxy", "-db", "-f", "@DIR/haproxy.cfg")

    def node(self, script):
        """A script that serves HTTP at the port that is its argument."""
        return self.adopt(Service({"server.js": script})).start("node", "@DIR/server.js", "@PORT")

    def iperf3(self):
        service = self.adopt(Iperf3())
        return service.start("iperf3", "-s", "-p", "@PORT", "-B", "127.0.0.1", "--forceflush")

    def postgres(self):
        service = self.adopt(Postgres(user=Postgres.unprivileged()))
        service.initialize()
        return service.start("postgres", "-D", "@DIR/data")

    def end_all(self):
        errors = []
        for service in reversed(self.running):
            try:
                service.end()
            except AssertionError as error:  # the next one must be ended all the same
                errors.append(error)
            service.remove()
        if errors:
            raise errors[0]
