"""Processes that an upgrade starts. They are no children of the program before them, so this process takes such orphans in: it
can wait for them, and sees how they end."""

import ctypes
import os
import re
import signal

from peer import until

_PR_SET_CHILD_SUBREAPER = 36


def take_orphans_in():
    assert ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


class Successor:
    """One such process. Its log is that of the server that it came from."""

    def __init__(self, server, pid):
        self.server = server
        self.pid = pid
        self.code = None

    def poll(self):
        """Its exit status, negative for a signal; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait_exit(self):
        until(lambda: self.poll() is not None, f"the end of process {self.pid}\n{self.server.log.text()}")
        return self.code

    def stop(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        code = self.wait_exit()
        assert code == 0, f"process {self.pid} ended with {code}:\n{self.server.log.text()}"

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait_exit()


class Family:
    """The processes that came from the servers of one test."""

    def __init__(self):
        self.members = []

    def find(self, server, number=1):
        """The process that the upgrade of that number brought, once it serves."""
        server.reactors = None  # the log has the balance of several processes
        found = until(lambda: (pids := re.findall(r"upgrade: process (\d+) serves now", server.log.text()))
                      and len(pids) >= number and pids, f"upgrade {number}\n{server.log.text()}")
        self.members.append(Successor(server, int(found[number - 1])))
        return self.members[-1]

    def end(self):
        errors = []
        for member in self.members:
            try:
                member.stop()
            except AssertionError as error:
                errors.append(error)
                member.kill()
        if errors:
            raise errors[0]
