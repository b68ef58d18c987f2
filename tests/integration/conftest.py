"""Fixtures of the integration tests.

Tests that ask for `engine` run on engines that are set up in different ways: plain or incremental buffer rings, one or
two reactors, acceptor or reuseport, so that each pair of these is there once, and on the default engine with LuaJIT's
compiler off and with everything compiled at once. ZERG_MATRIX=full takes all ten ways in place of these six;
ZERG_MATRIX=quick leaves three, which are all that `quick_engine` has.

Markers: `heavy` (long or measuring: not for sanitizer builds), `sanitize` (all the others, set here), `threads` (more
than one reactor: what the thread sanitizer should see).
"""

import os
import shutil
import signal

import pytest

from controls import Control, Fake
from dnsserver import DnsServer
from harness import PROGRAM, Factory
from httpserver import Upstream
from luatext import literal
from httptalk import HANDLER, saying
from peer import SCALE
from services import Services
from successors import Family, take_orphans_in

TEST_SECONDS_MAX = 60

QUICK = ("plain-2-acceptor", "incremental-2-reuseport", "jit_hot")  # the default engine has one reactor
PAIRS = (*QUICK, "plain-1-reuseport", "incremental-1-acceptor", "jit_off")
JIT_OFF = "jit.off() "
JIT_HOT = 'require("jit.opt").start("hotloop=1", "hotexit=1") '


def engines(matrix):
    params = []
    for incremental in (False, True):
        for reactors in (1, 2):
            for accept in ("acceptor", "reuseport"):
                name = f"{'incremental' if incremental else 'plain'}-{reactors}-{accept}"
                value = {"reactor": {"incremental": incremental}, "reactors": reactors, "accept": accept}
                params.append(pytest.param(value, id=name, marks=[pytest.mark.threads] if reactors > 1 else []))
    params.append(pytest.param({"jit": JIT_OFF}, id="jit_off"))
    params.append(pytest.param({"jit": JIT_HOT}, id="jit_hot"))
    chosen = {"quick": QUICK, "pairs": PAIRS, "full": [param.id for param in params]}[matrix]
    return [param for param in params if param.id in chosen]


def pytest_configure(config):
    config.addinivalue_line("markers", "heavy: long or measuring; not for sanitizer builds")
    config.addinivalue_line("markers", "sanitize: fit for a build with sanitizers (set by conftest.py)")
    config.addinivalue_line("markers", "threads: more than one reactor")


def pytest_collection_modifyitems(items):
    for item in items:
        if not item.get_closest_marker("heavy"):
            item.add_marker(pytest.mark.sanitize)


def pytest_sessionstart():
    if not PROGRAM.exists():
        pytest.exit(f"{PROGRAM} is missing: run `make` first, or set ZERG", returncode=2)


@pytest.fixture(params=engines(os.environ.get("ZERG_MATRIX", "pairs")))
def engine(request):
    """One way to set up the engine; the servers that `zerg` starts use it."""
    return request.param


@pytest.fixture(params=engines("quick"))
def quick_engine(request):
    """The same, but only three of them: for tests that take seconds each."""
    return request.param


@pytest.fixture
def zerg(request):
    """Starts servers (see harness.Factory); ends them with the test and checks what they leave."""
    asked = [name for name in ("engine", "quick_engine") if name in request.fixturenames]
    factory = Factory(request.getfixturevalue(asked[0]) if asked else None)
    request.node.zerg_factory = factory
    yield factory
    factory.stop_all()


@pytest.fixture
def installed(zerg, monkeypatch):
    """A copy of the program at a place of its own, which servers of this test run; any user may."""
    path = zerg.directory().path / "zerg"
    shutil.copy(PROGRAM, path)
    monkeypatch.setattr("harness.PROGRAM", path)
    return path


@pytest.fixture
def dns():
    """A name server of the test's own (see dnsserver.py)."""
    with DnsServer() as server:
        yield server


@pytest.fixture
def services(request):
    """Starts real servers beside zerg (see services.py); ends them with the test."""
    started = request.node.zerg_services = Services()
    yield started
    started.end_all()


@pytest.fixture
def caller(zerg):
    """Starts a server whose handler is `body`, with TARGET as a local. Options are those of the configuration."""

    def start(body, target="", **options):
        server = zerg(body, top=f"local TARGET = {literal(target)}", **options)
        return server.wait_listening()

    return start


@pytest.fixture
def behind():
    """Makes servers of the kinds of talkers.py and peer.py; ends them with the test."""
    made = []

    def make(kind, *args):
        made.append(kind(*args))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def upstream(behind):
    """An HTTP server that says what the test makes it say."""
    return behind(Upstream)


@pytest.fixture
def forward_to(zerg):
    """Starts a server that forwards to an upstream of these servers, with records of its connections in the log. Its
    warnings of servers that fail are what such tests are about."""

    def start(*targets, listener=None, ring=None, reactors=1, **upstream):
        rows = [{"address": "127.0.0.1", "name": "front", "forward": "app", **(listener or {})}]
        server = zerg(listeners=rows, reactor=ring or {}, reactors=reactors, log={"level": "debug"},
                      upstreams={"app": {"servers": list(targets), **upstream}})
        server.log.allow("cannot reach|upstream|server ")
        return server.wait_listening()

    return start


@pytest.fixture
def web(zerg):
    """Starts a server of HTTP with the handler of httptalk.py."""

    def start(limits=None, timeouts=None, **listener):
        server = zerg(files={"web.lua": HANDLER}, listeners=[
            {"address": "127.0.0.1", "name": "web", "protocol": "http", "handler": "web.lua",
             "limits": limits or {}, "timeouts": timeouts or {}, **listener}])
        return server
    return start


@pytest.fixture
def proxy(zerg):
    """Starts a reverse proxy in front of these servers."""

    def start(*targets, listener=None, more=(), files=None, top=None, **upstream):
        rows = [{"address": "127.0.0.1", "name": "front", "protocol": "http", "forward": "app", **(listener or {})}]
        server = zerg(files=files, listeners=[*rows, *more], upstreams={"app": {"servers": list(targets), **upstream}},
                      **(top or {}))
        return server.wait_listening()
    return start


@pytest.fixture
def handling(zerg):
    """Starts a server of HTTP with a handler of these statements (see httptalk.saying) before an upstream `app` of
    these servers. Its warnings of servers that fail are what such tests are about."""

    def start(body, *targets, top="", listener=None, options=None, **upstream):
        rows = [{"address": "127.0.0.1", "protocol": "http", "handler": "web.lua", **(listener or {})}]
        app = {"upstreams": {"app": {"servers": list(targets), **upstream}}} if targets else {}
        server = zerg(files={"web.lua": saying(body, top)}, listeners=rows, **app, **(options or {}))
        server.log.allow("upstream ")
        return server.wait_listening()
    return start


@pytest.fixture
def control():
    """Connects to the control socket of a server."""
    made = []

    def connect(server):
        server.log.wait("is ready")
        made.append(Control(server.control))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def family(zerg):
    """Finds the processes that upgrades start (see successors.py); ends them before their servers."""
    del zerg
    take_orphans_in()
    members = Family()
    yield members
    members.end()


@pytest.fixture
def fake_control(zerg):
    """Starts a controls.Fake with these answers; .command(...) runs the program against it."""
    made = []

    def start(*answers):
        server = Fake(zerg.directory().path / "s", answers)
        server.command = lambda *args, **options: zerg.command(*args, "--control", server.path, **options)
        made.append(server)
        return server

    yield start
    for server in made:
        server.close()


@pytest.fixture(autouse=True)
def bounded(request):
    """No test hangs: it fails after a minute (more on slow builds)."""

    def on_alarm(*_):
        raise TimeoutError(f"{request.node.name} took more than {TEST_SECONDS_MAX * SCALE:g} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(int(TEST_SECONDS_MAX * SCALE))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows the logs of the servers and where their files are."""
    outcome = yield
    report = outcome.get_result()
    factory = getattr(item, "zerg_factory", None)
    if report.failed and factory:
        for server in factory.servers:
            report.sections.append((f"zerg {server.path} ({report.when})", server.log.text()[-20000:]))
    for service in getattr(item, "zerg_services", Services()).running if report.failed else []:
        report.sections.append((f"{service.command[0]} {service.path} ({report.when})", service.log()[-5000:]))
