"""Reloading a running server, and what came of it."""

import re
import signal

from peer import until

_OUTCOME = re.compile(r"reload: version (\d+) (is current|goes on: .*)", re.S)


def outcomes(server):
    """What the log says of reloads so far: pairs of the version that is current and why nothing changed, None."""
    found = (_OUTCOME.search(entry.text) for entry in server.log.find("reload: version"))
    return [(int(match[1]), None if match[2] == "is current" else match[2].removeprefix("goes on: "))
            for match in found if match]


def hup(server):
    """Asks for a reload by signal."""
    server.log.wait("is ready")
    server.process.send_signal(signal.SIGHUP)


def _next_outcome(server):
    before = len(outcomes(server))
    hup(server)
    return until(lambda: outcomes(server)[before:], f"a reload ends:\n{server.log.text()}")[0]


def reload(server):
    """A reload that must succeed. Returns the number of the version that is current then."""
    number, problem = _next_outcome(server)
    assert problem is None, problem
    return number


def reload_fails(server, *texts):
    """A reload that must change nothing, with all of these in the message. Returns that."""
    number, problem = _next_outcome(server)
    assert problem is not None, f"version {number} is current"
    server.log.expect("reload: version")
    for text in texts:
        assert text in problem, f"{text!r} is not in {problem!r}"
    return problem


def versions(client):
    """What the control socket says of versions."""
    return client.ask("status")[0]["versions"]


def wait_for_versions(client, *numbers):
    """Until only these versions are there. Returns what is said of them."""

    def look():
        rows = versions(client)
        return [row["number"] for row in rows] == list(numbers) and rows

    return until(look, f"versions {numbers}, not {versions(client)}")
