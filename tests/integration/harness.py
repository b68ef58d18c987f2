"""Runs the real server for a test: writes its directory, starts it, ends it, and checks that it left nothing behind.

Environment: ZERG (the program, default build/zerg), ZERG_TOOLS (C clients, default build/tools), ZERG_TIME_SCALE (slow
builds), ZERG_MATRIX (see conftest.py).
"""

import contextlib
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile

import luatext
from logfile import Log
from peer import PATIENCE, SCALE, dial, until

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("ZERG", REPOSITORY / "build" / "zerg")).resolve()
TOOLS = pathlib.Path(os.environ.get("ZERG_TOOLS", REPOSITORY / "build" / "tools")).resolve()

_BALANCE = re.compile(r"reactor (\d+) stopped: (.*)")
_COUNT = re.compile(r"(\w+)=(\d+)")
_RETURNED = ("leases", "buffers_leased", "operations", "connections", "chunks")


def free_port():
    """A TCP port below the ephemeral range, so that no client connection can sit on it when the server binds."""
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                sock.bind(("::", port))
                return port
            except OSError:
                continue


def merge(base, over):
    """Configuration tables, the second on top of the first, key by key."""
    out = dict(base)
    for key, value in over.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def environment(extra=None):
    env = {**os.environ, **(extra or {})}
    for name, value in (("ASAN_OPTIONS", "abort_on_error=0"), ("TSAN_OPTIONS", "exitcode=66"),
                        ("UBSAN_OPTIONS", "print_stacktrace=1")):
        env.setdefault(name, value)
    return env


def tool(name):
    path = TOOLS / name
    assert path.exists(), f"{path} is missing: run `make integration`"
    return str(path)


def run_tool(name, *args, timeout=120, **kwargs):
    """Runs a C client to its end; its failure is the test's, with what it printed."""
    done = subprocess.run([tool(name), *map(str, args)], capture_output=True, text=True,
                          timeout=timeout * SCALE, check=False, **kwargs)
    assert done.returncode == 0, f"{name} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


class Directory:
    """A directory of one server: configuration, handler files, log. Readable by all, for tests that drop privileges."""

    def __init__(self, files=None):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="zerg-test-"))
        self.path.chmod(0o755)
        for name, text in (files or {}).items():
            self.write(name, text)

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_name(path.name + ".new")  # a server that reloads never sees the half of it
        whole.write_text(text)
        whole.replace(path)
        return path

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Server:
    """One running server. `targets` are what its listeners can be dialled at, in the configuration's order."""

    def __init__(self, directory, args, targets, *, env=None, rlimit_nofile=None, wrapper=(), reactors=None,
                 log="log"):
        self.directory = directory
        self.targets = targets
        self.reactors = reactors  # how many balance lines to expect at the end; None: at least one
        self.log = Log(directory.path / log)
        self.peers = []
        self.control = directory.path / f"{log}.sock"  # one of its own, or it would ask for the user's only one
        if "--control" not in args:
            args = [*args, "--control", str(self.control)]
        self.check_at_end = True
        self.configure = None  # of one that a Factory made zerg.lua for: see Factory._configure()
        self._ready = set()

        def limit():
            if rlimit_nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (rlimit_nofile, rlimit_nofile))

        with open(self.log.path, "wb") as out:
            self.process = subprocess.Popen(
                [*wrapper, str(PROGRAM), *args], cwd=directory.path, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, env=environment(env), preexec_fn=limit)

    @property
    def path(self):
        return self.directory.path

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return self.targets[0][1]

    # ---- connecting ----

    def connect(self, listener=0, **options):
        """A Peer. The first one on a listener is how readiness is found out: it tries until the server listens."""
        target = self.targets[listener]
        if listener in self._ready:
            peer = dial(target, **options)
        else:
            peer = until(lambda: self._try(target, options), f"server ready at {target}\n{self.log.text()}")
            self._ready.add(listener)
        self.peers.append(peer)
        return peer

    def connect_many(self, count, listener=0, **options):
        return [self.connect(listener, **options) for _ in range(count)]

    def wait_ready(self):
        """Connects to every listener once (a handler sees that connection come and go)."""
        for listener in range(len(self.targets)):
            if listener not in self._ready:
                self.connect(listener).close()
        return self

    def wait_listening(self):
        """Believes the log instead: for listeners whose every connection counts, as those that forward one."""
        self.log.wait("is ready")
        self._ready.update(range(len(self.targets)))
        return self

    def _try(self, target, options):
        assert self.process.poll() is None, f"server exited with {self.process.returncode}:\n{self.log.text()}"
        try:
            return dial(target, **options)
        except (ConnectionRefusedError, FileNotFoundError):
            return None

    # ---- the process as the kernel sees it ----

    def _of_threads(self, name):
        """Thread id → what /proc/PID/task/TID/name says."""
        out = {}
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            # A thread may end before the file is opened, and between opening and reading.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                out[int(task.name)] = (task / name).read_text()
        return out

    def threads(self):
        """Thread id → name."""
        return {task: name.strip() for task, name in self._of_threads("comm").items()}

    def cpu_seconds(self):
        """CPU time of all threads so far."""
        return sum(int(text.split()[0]) for text in self._of_threads("schedstat").values()) / 1e9

    def switches(self):
        """Voluntary context switches of each thread: how often it slept and woke."""
        return {task: int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])
                for task, text in self._of_threads("status").items()}

    def status(self, key):
        """The fields of one line of /proc/PID/status."""
        return re.search(rf"^{key}:\s+(.*)$", pathlib.Path(f"/proc/{self.pid}/status").read_text(), re.M)[1].split()

    def descriptors(self):
        """How many descriptors are open."""
        return len(list(pathlib.Path(f"/proc/{self.pid}/fd").iterdir()))

    def open_files(self):
        """What the open descriptors lead to; some may be closed meanwhile."""
        out = []
        for link in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                out.append(os.readlink(link))
        return out

    def resident_bytes(self):
        """Anonymous and shared-memory pages in use: buffers and heaps, without the program's own file pages."""
        return 1024 * (int(self.status("RssAnon")[0]) + int(self.status("RssShmem")[0]))

    # ---- ending ----

    def send_signal(self, number):
        if not self._ready:
            self.wait_ready()
        self.process.send_signal(number)

    def wait_exit(self, within=None):
        """Waits for the process to end and returns its exit code."""
        try:
            return self.process.wait((within or PATIENCE / SCALE) * SCALE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"server still runs {within or PATIENCE:g} s later:\n{self.log.text()}") from None

    def close_peers(self):
        for peer in self.peers:
            peer.close()

    def kill(self):
        """Ends the process without any of the checks."""
        self.check_at_end = False
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, number=signal.SIGTERM):
        """The end of every test: peers leave, the server is told to go, and must go cleanly with all in balance."""
        if not self.check_at_end:
            self.close_peers()
            self.kill()
            return
        if self.process.poll() is None:
            if not self._ready:
                self.wait_ready()
            self.close_peers()
            workers = [name for name in self.threads().values() if name.startswith("iou-wrk")]
            # One may be: a peer half-closes while a send waits, which is then cancelled there (core/write_wait.h).
            assert len(workers) <= 1, f"operations were punted to io_uring worker threads: {workers}"
            self.process.send_signal(number)
        self.close_peers()
        code = self.wait_exit()
        assert code == 0, f"server exited with {code}:\n{self.log.text()}"
        self.check_log()

    def check_log(self):
        unexpected = self.log.unexpected()
        assert not unexpected, "unexpected in the log:\n" + "\n".join(map(repr, unexpected))
        self._check_balance()

    def _check_balance(self):
        """At the end every lease, operation and connection has come back, in every reactor."""
        lines = _BALANCE.findall(self.log.text())
        if self.reactors is not None:
            assert len(lines) == self.reactors, f"balance lines of {self.reactors} reactors:\n{self.log.text()}"
        for reactor, text in lines:
            counts = {key: int(value) for key, value in _COUNT.findall(text)}
            left = {key: counts[key] for key in _RETURNED if counts[key]}
            assert not left, f"reactor {reactor} did not get everything back: {text}"
            assert counts["accepted"] == counts["closed"], f"reactor {reactor}: {text}"
            assert counts["connects"] == counts["connects_closed"], f"reactor {reactor}: {text}"

    def counted(self, key):
        """A counter of the balance lines, over all reactors; after stop()."""
        return sum(int(value) for name, value in _COUNT.findall(self.log.text()) if name == key)


class Factory:
    """Makes servers for one test and ends them with it. `engine` is laid under every configuration."""

    DEFAULTS = {"reactors": 1, "drain_timeout": 3}

    def __init__(self, engine=None):
        engine = dict(engine or {})
        self.jit = engine.pop("jit", "")  # Lua that every handler file starts with
        self.engine = engine
        self.servers = []
        self.directories = []

    def __call__(self, body=None, *, top="", files=None, listeners=None, config=None, args=None, env=None,
                 rlimit_nofile=None, wrapper=(), **options):
        """Starts a server. `body`: statements of handler.lua, which every listener without a handler gets.
        `listeners`: tables; a port is chosen where neither `port` nor `path` is given. `options`: other top-level
        keys. Or `config`: the whole text, $PORT standing for a chosen port. `args`: a command line in place of
        `run`."""
        files = dict(files or {})
        if body is not None:
            files["handler.lua"] = luatext.handler(body, top)
        directory = self.directory({name: self._prefixed(name, text) for name, text in files.items()})
        targets = []
        rows = None
        if config is None:
            options = merge(merge(self.DEFAULTS, self.engine), options)
            rows = [self._listener(directory, row, targets) for row in listeners or [{"address": "127.0.0.1"}]]
            config = luatext.config(rows, options)
        else:
            port = free_port()
            config = config.replace("$PORT", str(port))
            targets.append(("127.0.0.1", port))
        directory.write("zerg.lua", config)
        server = Server(directory, args or ["run", "-c", "zerg.lua"], targets, env=env, rlimit_nofile=rlimit_nofile,
                        wrapper=wrapper, reactors=self._reporting(options))
        if not args:
            server.rows = rows
            server.configure = lambda **changes: self._configure(server, options, **changes)
        self.servers.append(server)
        return server

    def _configure(self, server, options, *, listeners=None, **changes):
        """Writes zerg.lua anew, for the next reload: these listeners in place of those that there are, and these keys
        over the ones that it began with. The server's targets are those of the new listeners from now on."""
        server.targets = []
        server.rows = [self._listener(server.directory, row, server.targets) for row in listeners or server.rows]
        server.directory.write("zerg.lua", luatext.config(server.rows, {**options, **changes}))

    def directory(self, files=None):
        self.directories.append(Directory(files))
        return self.directories[-1]

    def script(self, text, *args, port=None, **kwargs):
        """Starts `zerg SCRIPT.lua -p PORT`."""
        port = port or free_port()
        directory = self.directory({"script.lua": text})
        server = Server(directory, ["script.lua", "-p", str(port), *args], [("127.0.0.1", port)], **kwargs)
        self.servers.append(server)
        return server

    def proxy(self, *args, port):
        """Starts `zerg proxy --tcp` with these words; it listens at the port."""
        server = Server(self.directory(), ["proxy", "--tcp", *args], [("127.0.0.1", port)])
        self.servers.append(server)
        return server

    def command(self, *args, files=None, directory=None, timeout=10, wrapper=(), env=None, text=""):
        """Runs the program to its end in a directory with these files, with `text` to read; returns code, stdout,
        stderr."""
        directory = directory or self.directory(files)
        return subprocess.run([*wrapper, str(PROGRAM), *map(str, args)], cwd=directory.path, env=environment(env),
                              capture_output=True, text=True, timeout=timeout * SCALE, check=False, input=text)

    def stop_all(self):
        errors = []
        for server in self.servers:
            try:
                server.stop()
            except Exception as error:  # the next server must be ended all the same
                errors.append(error)
            finally:
                if server.process.poll() is None:
                    server.process.kill()
                    server.process.wait()
        if errors:
            raise errors[0]
        for directory in self.directories:
            directory.remove()

    def _prefixed(self, name, text):
        """Handler files start with the engine's JIT setting, on their first line so that line numbers stay."""
        return self.jit + text if name.endswith(".lua") else text

    def _listener(self, directory, row, targets):
        row = dict(row)
        if "path" in row:
            row["path"] = str(directory.path / row["path"])
            targets.append(row["path"])
        else:
            row.setdefault("port", free_port())
            host = row.get("address", "127.0.0.1")
            targets.append(({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), row["port"]))
        if not {"handler", "forward", "routes"} & row.keys():
            row["handler"] = "handler.lua"
        return row

    @staticmethod
    def _reporting(options):
        """How many reactors report at their end: none when the log's level or place hides it."""
        log = options.get("log", {})
        if log.get("level", "info") not in ("debug", "info") or "file" in log:
            return None
        return options.get("reactors")
