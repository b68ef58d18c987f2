"""A name server whose answers the test says, and may change at any time.

    with DnsServer() as dns:                                # 127.0.0.1, UDP and TCP on one port of its own
        dns.host("db.test", "127.0.0.1", "::1", ttl=5)      # A and AAAA
        dns.service("_db._tcp.test", (10, 5, 5432, "db.test"))  # priority, weight, port, host ("." for none)
        dns.alias("www.test", "db.test")                    # CNAME, followed here
        dns.fail("broken.test", SERVFAIL)                   # also REFUSED, NXDOMAIN
        dns.be_silent("slow.test")                          # never answers
        dns.truncate("big.test")                            # by UDP nothing but "ask by TCP"
        zerg(..., config={"resolver": {"servers": dns.servers}})
        dns.wait_asked("db.test")
        dns.asked("db.test", "A")                           # how often

Names that were never said do not exist (NXDOMAIN), and those that were lack what was not said of them. All methods may
be called from any thread.
"""

import socket
import struct
import threading

from peer import until

TYPES = {"A": 1, "CNAME": 5, "AAAA": 28, "SRV": 33}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
TYPE_OPT = 41
CLASS_IN = 1
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5
FLAGS_ANSWER = 0x8180  # an answer, recursion desired and available
FLAG_TRUNCATED = 0x0200
PLAIN_BYTES_MAX = 512  # by UDP, when the question has no OPT record
ALIASES_MAX = 8
PORT_TRIES = 20


def pack_name(name):
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read_name(message, at):
    """A name without compression (questions have none), and the position behind it."""
    labels = []
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels).lower(), at + 1


def pack_data(kind, value):
    if kind == "A":
        return socket.inet_pton(socket.AF_INET, value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "SRV":
        return struct.pack(">3H", *value[:3]) + pack_name(value[3])
    return pack_name(value)


def pack_record(name, kind, ttl, value):
    data = pack_data(kind, value)
    return pack_name(name) + struct.pack(">2HIH", TYPES[kind], CLASS_IN, ttl, len(data)) + data


class Question:
    """One that was asked, as it came."""

    def __init__(self, message):
        self.id, _, count, _, _, additional = struct.unpack_from(">6H", message)
        assert count == 1, f"{count} questions in one message"
        self.name, end = read_name(message, 12)
        number, _ = struct.unpack_from(">2H", message, end)
        self.kind = TYPE_NAMES.get(number, str(number))
        self.section = message[12:end + 4]
        self.answer_bytes_max = PLAIN_BYTES_MAX
        if additional:  # OPT: root, type, and the size in place of the class
            kind, size = struct.unpack_from(">2H", message, end + 5)
            if kind == TYPE_OPT:
                self.answer_bytes_max = max(size, PLAIN_BYTES_MAX)

    def answer(self, code=0, records=(), flags=0):
        header = struct.pack(">6H", self.id, FLAGS_ANSWER | flags | code, 1, len(records), 0, 0)
        return header + self.section + b"".join(records)


class DnsServer:
    def __init__(self):
        self.lock = threading.Lock()
        self.records = {}  # (name, kind): (ttl, [value])
        self.codes = {}  # name: what to answer with instead
        self.silent = set()
        self.truncated = set()
        self.questions = []  # (name, kind, "udp" or "tcp")
        self.is_open = True
        self._bind()
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._serve_udp, self._serve_tcp)]
        for thread in self.threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def port(self):
        return self.udp.getsockname()[1]

    @property
    def servers(self):
        """As `resolver.servers` wants it."""
        return f"127.0.0.1:{self.port}"

    # ---- what it says ----

    def host(self, name, *addrs, ttl=60):
        """Has these addresses, and no others; none at all: it exists, but has none."""
        with self.lock:
            self.records[name.lower(), "A"] = (ttl, [addr for addr in addrs if ":" not in addr])
            self.records[name.lower(), "AAAA"] = (ttl, [addr for addr in addrs if ":" in addr])

    def service(self, name, *rows, ttl=60):
        with self.lock:
            self.records[name.lower(), "SRV"] = (ttl, list(rows))

    def alias(self, name, target, ttl=60):
        with self.lock:
            self.records[name.lower(), "CNAME"] = (ttl, [target])

    def fail(self, name, code):
        with self.lock:
            self.codes[name.lower()] = code

    def be_silent(self, name):
        with self.lock:
            self.silent.add(name.lower())

    def truncate(self, name):
        with self.lock:
            self.truncated.add(name.lower())

    def recover(self, name):
        """Ends what the last three began."""
        with self.lock:
            self.codes.pop(name.lower(), None)
            self.silent.discard(name.lower())
            self.truncated.discard(name.lower())

    def forget(self, name):
        """The name does not exist any more."""
        with self.lock:
            for key in [key for key in self.records if key[0] == name.lower()]:
                del self.records[key]

    # ---- what it was asked ----

    def asked(self, name=None, kind=None, by=None):
        """How often: about that name, for that type, by "udp" or "tcp"; None: any."""
        with self.lock:
            return sum(name in (None, row[0]) and kind in (None, row[1]) and by in (None, row[2])
                       for row in self.questions)

    def wait_asked(self, name=None, kind=None, by=None, times=1):
        until(lambda: self.asked(name, kind, by) >= times, f"{times} questions about {name}")

    def close(self):
        """From now on nobody is there. Idempotent."""
        if not self.is_open:
            return
        self.is_open = False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.udp.getsockname())
        self.tcp.shutdown(socket.SHUT_RDWR)  # ends its accept
        for thread in self.threads:
            thread.join()
        self.udp.close()
        self.tcp.close()

    # ---- serving ----

    def _bind(self):
        for _ in range(PORT_TRIES):
            self.tcp = socket.socket(socket.AF_INET)
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.tcp.bind(("127.0.0.1", 0))
            self.tcp.listen(16)
            try:
                self.udp.bind(self.tcp.getsockname())
                return
            except OSError:  # that of UDP is taken
                self.tcp.close()
                self.udp.close()
        raise AssertionError("no port that is free for UDP and TCP")

    def _serve_udp(self):
        while self.is_open:
            message, client = self.udp.recvfrom(4096)
            answer = self._answer(message, "udp") if message else None
            if answer:
                self.udp.sendto(answer, client)

    def _serve_tcp(self):
        while self.is_open:
            try:
                sock = self.tcp.accept()[0]
            except OSError:  # closed
                return
            threading.Thread(target=self._serve_client, args=(sock,), daemon=True).start()

    def _serve_client(self, sock):
        with sock, sock.makefile("rb") as stream:
            while len(prefix := stream.read(2)) == 2:
                answer = self._answer(stream.read(int.from_bytes(prefix, "big")), "tcp")
                if answer:
                    sock.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, message, by):
        """The bytes to answer with, None for silence."""
        question = Question(message)
        with self.lock:
            self.questions.append((question.name, question.kind, by))
            if question.name in self.silent:
                return None
            if question.name in self.codes:
                return question.answer(self.codes[question.name])
            if by == "udp" and question.name in self.truncated:
                return question.answer(flags=FLAG_TRUNCATED)
            exists, records = self._find(question.name, question.kind)
        answer = question.answer(0 if exists else NXDOMAIN, records)
        if by == "udp" and len(answer) > question.answer_bytes_max:
            return question.answer(flags=FLAG_TRUNCATED)
        return answer

    def _find(self, name, kind):
        """Whether the name exists, and the records that answer, aliases first."""
        records = []
        for _ in range(ALIASES_MAX):
            ttl, aliases = self.records.get((name, "CNAME"), (0, []))
            if kind == "CNAME" or not aliases:
                break
            records.append(pack_record(name, "CNAME", ttl, aliases[0]))
            name = aliases[0].lower()
        ttl, values = self.records.get((name, kind), (0, []))
        records += [pack_record(name, kind, ttl, value) for value in values]
        return any(key[0] == name for key in self.records), records
