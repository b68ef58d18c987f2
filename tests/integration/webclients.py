"""Clients of HTTP that others wrote, each run to its end: its own account of what it did is checked, and returned."""

import os
import re

from services import run

NODE_MODULES = "/usr/share/nodejs"  # where Debian has them, which another node than Debian's does not know


def curl(*args, **kwargs):
    """What it printed. A time-out of its own makes it say what it waits for."""
    return run("curl", "-sS", "--max-time", "40", *args, **kwargs).decode("latin-1")


def wrk(url, *args, seconds=1, connections=16):
    """How many requests were answered."""
    said = run("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *args, url).decode()
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    return int(re.search(r"(\d+) requests in", said)[1])


def ab(url, *args, count=2000, connections=16):
    said = run("ab", "-q", "-n", count, "-c", connections, *args, url).decode()
    assert re.search(rf"^Complete requests: +{count}$", said, re.M), said
    assert re.search(r"^Failed requests: +0$", said, re.M) and "Non-2xx" not in said, said
    return said


def h2load(url, *args, count=2000, connections=8, pipelined=8):
    said = run("h2load", "--h1", "-n", count, "-c", connections, "-m", pipelined, *args, url).decode()
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert f"status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx" in said, said
    return said


def node(script, *args, **kwargs):
    """What a script prints that fails by an exception."""
    env = {**os.environ, "NODE_PATH": NODE_MODULES}
    return run("node", "--unhandled-rejections=strict", "-e", script, "--", *args, env=env, **kwargs).decode()
