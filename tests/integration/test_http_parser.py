"""The HTTP/1 parser beside node's, on the same damaged streams."""

import shutil
import subprocess

import pytest

from harness import REPOSITORY, SCALE, tool

STREAMS = 20000
SECONDS = 20


def llhttp_version():
    """The explained differences are those of one major version."""
    if not shutil.which("node"):
        return "not installed"
    command = ["node", "-p", "process.versions.llhttp"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


VERSION = llhttp_version()
pytestmark = pytest.mark.skipif(not VERSION.startswith("9."), reason=f"node's llhttp is {VERSION}, not 9")


def compare(verdicts):
    script = REPOSITORY / "tests/fuzz/http_differential.js"
    command = [script, "--tool", verdicts, "--cases", STREAMS, "--seconds", SECONDS]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=3 * SECONDS * SCALE,
                          check=False)


def test_every_difference_to_node_is_explained():
    done = compare(tool("http_verdict"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_difference_that_is_planted_is_found(tmp_path):
    liar = tmp_path / "liar"
    liar.write_text(f"""#!/bin/sh\n{tool("http_verdict")} | sed 's/"body":"x"/"body":"y"/'\n""")
    liar.chmod(0o755)
    done = compare(liar)
    assert done.returncode == 1 and "differ in body" in done.stdout, done.stdout + done.stderr
