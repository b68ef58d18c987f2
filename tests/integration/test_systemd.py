"""The units of systemd, as `make install` writes them: systemd finds nothing wrong with them, and the service is as
confined as it was meant to be."""

import os
import shutil
import subprocess

import pytest

from harness import PROGRAM, REPOSITORY
from peer import PATIENCE

EXPOSURE_MAX = 16  # tenths: what systemd 252 makes of zerg.service; 100 is a service without any sandbox
UNITS = ("zerg.service", "zerg.socket")

pytestmark = pytest.mark.heavy  # about files: once is enough, no need of a slow build


def run(*command):
    """The exit status and everything that was printed."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout


def install(prefix, destination=""):
    code, output = run("make", "install-systemd", f"PREFIX={prefix}", f"DESTDIR={destination}")
    assert code == 0, output


@pytest.fixture
def analyze():
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("systemd-analyze is not installed: it is in the package systemd (scripts/setup test)")
    return program


@pytest.fixture
def units(tmp_path):
    """The units below a prefix that has the program in it."""
    install(tmp_path)
    tmp_path.joinpath("bin").mkdir()
    tmp_path.joinpath("bin/zerg").symlink_to(PROGRAM)
    return [str(tmp_path / "lib/systemd/system" / unit) for unit in UNITS]


def test_the_units_are_installed_with_the_path_of_the_program(tmp_path):
    install("/opt/zerg", tmp_path)
    folder = tmp_path / "opt/zerg/lib/systemd/system"
    assert sorted(path.name for path in folder.iterdir()) == sorted(UNITS)
    service = folder.joinpath("zerg.service").read_text()
    assert "ExecStart=/opt/zerg/bin/zerg run -c /etc/zerg/zerg.lua\n" in service
    assert "ExecReload=/opt/zerg/bin/zerg reload -c /etc/zerg/zerg.lua\n" in service
    assert not [unit for unit in UNITS if "@PREFIX@" in folder.joinpath(unit).read_text().split("[Unit]")[1]]


def test_systemd_finds_nothing_wrong(analyze, units):
    assert run(analyze, "verify", "--man=no", "--recursive-errors=no", *units) == (0, "")


def test_systemd_would_find_something_wrong(analyze, units):
    """The check above is one: it sees a word that it does not know."""
    with open(units[0], "a", encoding="utf-8") as service:
        service.write("\n[Service]\nProtectEverything=yes\n")
    assert "ProtectEverything" in run(analyze, "verify", "--man=no", "--recursive-errors=no", *units)[1]


def test_the_service_is_confined(analyze, units):
    code, output = run(analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", units[0])
    assert code == 0, output
