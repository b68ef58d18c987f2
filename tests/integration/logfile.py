"""The server's log as entries: what a test expects is consumed, what remains of warnings and errors is a failure."""

import collections
import json
import re

from peer import until

_TEXT_ENTRY = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warn|error) ")
_SANITIZER = re.compile(r"Sanitizer|runtime error:|SUMMARY:")


class Entry:
    def __init__(self, level, text):
        self.level = level  # "raw": not written by the log at all (a panic, a sanitizer, a tool's message)
        self.text = text
        self.expected = False

    def __repr__(self):
        return self.text


def _entry(line):
    match = _TEXT_ENTRY.match(line)
    if match:
        return Entry(match[1], line)
    if line.startswith("{"):
        try:
            return Entry(json.loads(line)["level"], line)
        except (ValueError, KeyError):
            pass
    return None


def parse(text):
    """Entries of a log; lines that start with a blank belong to the entry before them."""
    entries = []
    for line in text.splitlines():
        entry = _entry(line)
        if entry:
            entries.append(entry)
        elif entries and (line == "" or line[0] in " \t") and not _SANITIZER.search(line):
            entries[-1].text += "\n" + line
        elif line.strip():
            entries.append(Entry("raw", line))
    return entries


_SESSION = re.compile(r"session: (conn=.*)$")

# The record that a relayed connection ends with. Addresses as texts; `end` is HAProxy's two letters.
Session = collections.namedtuple(
    "Session", "conn client listener upstream server bytes_up bytes_down connect_ms total_ms end")


def parse_session(text):
    """key=value, separated by blanks; what consists of digits is a number."""
    fields = dict(word.split("=", 1) for word in text.split(" "))
    return Session(**{key: int(value) if re.fullmatch(r"-?\d+", value) else value for key, value in fields.items()})


class Log:
    """Reads the file anew at every question; remembers which entries were expected, by position."""

    def __init__(self, path):
        self.path = path
        self._expected = set()
        self._allowed = []

    def text(self):
        try:
            return self.path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def entries(self):
        entries = parse(self.text())
        for index in self._expected:
            if index < len(entries):
                entries[index].expected = True
        return entries

    def find(self, regex):
        return [entry for entry in self.entries() if re.search(regex, entry.text)]

    def wait(self, regex, timeout=None):
        """Waits for an entry of any level that matches; returns its text. Consumes nothing."""
        return until(lambda: self.find(regex), f"log entry /{regex}/ in\n{self.text()}", timeout)[0].text

    def expect(self, regex, timeout=None):
        """Waits for a warning, error or raw entry that matches and is not consumed yet; consumes and returns it."""

        def consume():
            for index, entry in enumerate(self.entries()):
                fresh = not entry.expected and entry.level in ("warn", "error", "raw")
                if fresh and re.search(regex, entry.text):
                    self._expected.add(index)
                    return entry.text
            return None

        return until(consume, f"warning or error /{regex}/ in\n{self.text()}", timeout)

    def allow(self, regex):
        """Warnings and errors that match may be there, any number of them, now or later."""
        self._allowed.append(regex)

    def unexpected(self):
        return [
            entry
            for entry in self.entries()
            if entry.level in ("warn", "error", "raw")
            and not entry.expected
            and not any(re.search(regex, entry.text) for regex in self._allowed)
        ]

    def sessions(self, count=None, timeout=None):
        """The records of relayed connections that have ended, which are there at level debug. With a count, waits for
        that many, and one more is a failure."""

        def read():
            matches = (_SESSION.search(entry.text) for entry in self.entries() if entry.level == "debug")
            return [parse_session(match[1]) for match in matches if match]

        if count is None:
            return read()
        until(lambda: len(read()) >= count, f"{count} session records in\n{self.text()[-5000:]}", timeout)
        sessions = read()
        assert len(sessions) == count, sessions
        return sessions
