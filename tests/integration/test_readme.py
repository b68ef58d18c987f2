"""The documents do not drift: every example of README.md is run as it stands there, and what the documents list is what
there is.

In README.md a `lua` block is a file, named by its first line (`-- hello.lua`); an `sh` block holds commands without
output, a server among them; a `console` block holds commands (`$ ...`) and exactly what they print. Only ports are
replaced, by free ones.
"""

import itertools
import os
import re
import shlex
import shutil
import subprocess

import pytest

from harness import PROGRAM, REPOSITORY, Directory, Server, free_port
from peer import PATIENCE

pytestmark = pytest.mark.heavy  # about documents: once is enough, no need of a slow build

README = (REPOSITORY / "README.md").read_text()
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md", "tests/bench/README.md"]
PAGES += sorted(f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md"))

PORT = re.compile(r"\b(8080|7000|6380)\b")
SERVED_BY_DEFAULT = "8080"
NOT_RUN = {"scripts/test"}  # it is what runs us
DRY_RUN = {"make bench"}  # minutes long
NOT_LOG = r"^(?!\d{4}-\d\d-\d\dT)"  # what scripts/run says itself


# ---- taking README.md apart ----


class Block:
    def __init__(self, kind, text, line):
        self.kind, self.text, self.line = kind, text, line

    def commands(self):
        """Of an sh block: its commands. Of a console block: pairs of a command and what it prints."""
        if self.kind == "sh":
            return [re.sub(r"\s+#.*", "", line).strip() for line in self.text.splitlines() if line.strip()]
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.M)
        assert parts[0] == "", f"README.md:{self.line}: a console block starts with `$ `"
        return list(zip(parts[1::2], parts[2::2]))


def blocks_and_headings(text):
    """Blocks in their order, None where a heading stands."""
    pattern = re.compile(r"^```(\w*)\n(.*?)^```$|^#+ ", re.M | re.S)
    for match in pattern.finditer(text):
        if match[2] is None:
            yield None
        else:
            yield Block(match[1], match[2], text.count("\n", 0, match.start()) + 1)


def sessions(text):
    """What is run together: an sh block, which may start a server, and the console blocks up to the next one or to the
    next heading."""
    found = [[]]
    for block in blocks_and_headings(text):
        if block is None or block.kind == "sh":
            found.append([])
        if block is not None and block.kind in ("sh", "console"):
            found[-1].append(block)
    return [pytest.param(session, id=f"line_{session[0].line}") for session in found if session]


def lua_files(text):
    """Name → text of the Lua blocks."""
    files = {}
    for block in blocks_and_headings(text):
        if block and block.kind == "lua":
            name = re.match(r"-- (\w+\.lua)\b", block.text)
            assert name, f"README.md:{block.line}: the first line of a Lua block names its file"
            assert name[1] not in files, f"README.md:{block.line}: there is a {name[1]} already"
            files[name[1]] = block.text
    return files


# ---- running it ----


class Reader:
    """Somebody who does what README.md says, in a directory with its files."""

    def __init__(self, zerg):
        self.zerg = zerg
        self.ports = {port: str(free_port()) for port in ("8080", "7000", "6380")}
        self.directory = Directory()
        zerg.directories.append(self.directory)
        for name, text in lua_files(README).items():
            self.directory.write(name, self.with_ports(text))
        self.directory.write("zerg.lua.example", self.with_ports((REPOSITORY / "zerg.lua.example").read_text()))
        self.directory.path.joinpath("examples").symlink_to(REPOSITORY / "examples")
        self.directory.path.joinpath("build").mkdir()
        self.directory.path.joinpath("build/zerg").symlink_to(PROGRAM)
        self.directory.write(".curlrc", "silent\n")  # as at a terminal, where it shows no progress either

    def with_ports(self, text):
        return PORT.sub(lambda match: self.ports[match[1]], text)

    def do(self, block):
        for command in block.commands():
            if block.kind == "console":
                self.type(*command)
            elif command == "scripts/run":
                self.run_script()
            elif re.match(r"build/zerg (run|proxy|\w+\.lua)\b", command):
                self.serve(command)
            elif command in NOT_RUN:
                assert os.access(REPOSITORY / command, os.X_OK)
            else:
                self.succeed(command)

    def type(self, command, expected):
        # Each server of the tests has a control socket of its own.
        asking = f"build/zerg reload --control {self.zerg.servers[-1].control}" if self.zerg.servers else ""
        command = command.replace("build/zerg reload", asking)
        env = {**os.environ, "CURL_HOME": str(self.directory.path)}
        done = subprocess.run(["bash", "-c", self.with_ports(command)], cwd=self.directory.path, env=env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=PATIENCE, check=False)
        assert done.stdout == expected, f"$ {command}"

    def succeed(self, command):
        if command in DRY_RUN:
            command = f"make -C {REPOSITORY} --dry-run {command.removeprefix('make ')}"
        subprocess.run(["bash", "-c", command], cwd=self.directory.path, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, timeout=PATIENCE, check=True)

    def serve(self, command):
        words = shlex.split(self.with_ports(command))[1:]
        if words[0] == "run":
            self.start(words, self.directory.path / "zerg.lua")
        elif words[0] == "proxy":
            self.start(words, port=re.search(r":(\d+)", command)[1])
        elif "-p" in words:
            self.start(words, port=re.search(r"-p (\d+)", command)[1])
        else:
            self.start([*words, "-p", self.ports[SERVED_BY_DEFAULT]])

    def run_script(self):
        """scripts/run as it is, with a `make` that builds nothing under the other tests' feet and an apt-get that
        installs nothing."""
        for name, status in (("make", 0), ("apt-get", 1), ("sudo", 1)):
            self.directory.write(f"bin/{name}", f"#!/bin/sh\nexit {status}\n").chmod(0o755)
        env = {"PATH": f"{self.directory.path}/bin:{os.environ['PATH']}"}
        config = self.directory.path / "zerg.lua.example"
        script = f'shift; exec {shlex.quote(str(REPOSITORY))}/scripts/run "$@"'
        server = self.start(["-c", str(config)], config, env=env, wrapper=["sh", "-c", script, "sh"])
        server.log.allow(NOT_LOG)

    def start(self, arguments, config=None, port=SERVED_BY_DEFAULT, **options):
        ports = [self.ports[port]]
        if config:
            ports = re.findall(r"^[^-\n]*\bport = (\d+)", config.read_text(), re.M)  # not in comments
        targets = [("127.0.0.1", int(port)) for port in ports]
        server = Server(self.directory, arguments, targets, log=f"log-{len(self.zerg.servers)}", **options)
        self.zerg.servers.append(server)
        return server.wait_ready()


@pytest.mark.parametrize("session", sessions(README))
def test_readme(zerg, session):
    if "scripts/run" in session[0].text and not (shutil.which("dpkg-query") and (REPOSITORY / "build/zerg").exists()):
        pytest.skip("scripts/run needs Debian and a build")
    reader = Reader(zerg)
    for block in session:
        reader.do(block)


def test_every_lua_block_of_the_readme_is_run():
    commands = "\n".join(block.text for block in blocks_and_headings(README) if block and block.kind != "lua")
    for name in lua_files(README):
        assert name == "zerg.lua" or name in commands, f"nothing runs {name}"


# ---- what the documents list ----


def packages(text):
    """Two lists of names, those of `packages="..."` and `packages_of_tests="..."` in scripts/setup."""
    lists = re.findall(r'^packages(?:_of_tests)?="\n(.*?)^"', text, re.M | re.S)
    return [[line.split()[0] for line in names.splitlines()] for names in lists]


def test_the_readme_explains_every_package():
    tables = README.split("| Debian package |")[1:]
    listed = [re.findall(r"^\| `([^`]+)` \| \S", table.split("\n\n")[0], re.M) for table in tables]
    assert listed == packages((REPOSITORY / "scripts/setup").read_text())


def test_the_readme_lists_every_example():
    listed = set(re.findall(r"\]\(examples/([\w/.]+\.lua)\)", README))
    examples = {str(path.relative_to(REPOSITORY / "examples"))
                for pattern in ("*.lua", "*/zerg.lua") for path in (REPOSITORY / "examples").glob(pattern)}
    assert listed == examples


def expand(name):
    """src/core/conn.{h,c} → both."""
    braces = re.search(r"\{([^}]*)\}", name)
    if not braces:
        return [name]
    return [name.replace(braces[0], choice) for choice in braces[1].split(",")]


def test_the_tour_names_every_source_file():
    text = (REPOSITORY / "ARCHITECTURE.md").read_text()
    tour = text[text.index("## Tour of the source"):]
    names = re.findall(r"`((?:src|lua)/[\w/.{},]+\.[\w{},]+)`", tour)
    listed = list(itertools.chain.from_iterable(map(expand, names)))
    files = {str(path.relative_to(REPOSITORY)) for folder in ("src", "lua")
             for path in (REPOSITORY / folder).rglob("*") if path.suffix in (".c", ".h", ".lua")}
    assert sorted(files - set(listed)) == [], "not in the tour"
    assert sorted(set(listed) - files) == [], "in the tour, but not there"
    assert len(listed) == len(set(listed)), "twice in the tour"


def slug(heading):
    """The anchor of a heading, as it is on the web."""
    return re.sub(r"[^\w -]", "", re.sub(r"`", "", heading).strip().lower()).replace(" ", "-")


def anchors(text):
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", plain, re.M)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = REPOSITORY / page
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def make_targets():
    text = (REPOSITORY / "Makefile").read_text()
    rules = re.search(r"^RULES := (.*)$", text, re.M)[1].split()  # these have a pattern rule
    return set(re.findall(r"^([a-z-]+):", text, re.M)) | set(rules)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_to_run_exists(page):
    text = (REPOSITORY / page).read_text()
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`|^    .*$", text, re.S | re.M))
    for target in re.findall(r"\bmake(?: [A-Z_]+=(?:\"[^\"]*\"|\S+))* ([a-z][a-z-]+)\b", code):
        assert target in make_targets(), f"make {target}"
    for name in re.findall(r"(?<![\w./])((?:scripts|tests|docs|src|lua|examples)/[\w/.*{},-]+[\w*}])", code):
        for path in expand(name.replace("MODULE", "*")):
            assert any(REPOSITORY.glob(path)), name
