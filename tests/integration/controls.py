"""Both ends of the control socket: a client of a server's, and one that answers what a test wants."""

import json
import socket
import threading

from peer import PATIENCE, dial


class Control:
    """A client that speaks the protocol."""

    def __init__(self, path):
        self.peer = dial(str(path))
        self.file = self.peer.sock.makefile("rb")

    def send(self, text):
        self.peer.send(text)
        return self

    def reply(self):
        """The next line, as an object."""
        line = self.file.readline()
        assert line.endswith(b"\n"), f"the server hung up after {line!r}"
        return json.loads(line)

    def ask(self, request):
        """The answer, and the progress that came before."""
        self.send(request + "\n")
        progress = []
        while True:
            reply = self.reply()
            if "ok" in reply:
                return reply, progress
            progress.append(reply["progress"])

    def ended(self):
        """Whether the server hung up; it may have had more from us than it wanted."""
        try:
            return self.file.readline() == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.file.close()
        self.peer.close()


def lines(*replies):
    """These objects as a server sends them."""
    return b"".join(json.dumps(reply).encode() + b"\n" for reply in replies)


class Fake:
    """A control socket that answers each request line with the next of `answers` (bytes, or a function of the line that
    gives them), and notes the requests."""

    def __init__(self, path, answers):
        self.path = path
        self.requests = []
        self.answers = list(answers)
        self.hangs_up = False  # behind each answer
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                client = self.listening.accept()[0]
            except OSError:
                return
            with client, client.makefile("rb") as requests:
                for line in requests:
                    self.requests.append(line.decode().removesuffix("\n"))
                    if not self.answers:
                        break
                    answer = self.answers.pop(0)
                    client.sendall(answer(self.requests[-1]) if callable(answer) else answer)
                    if self.hangs_up:
                        break

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(PATIENCE)
