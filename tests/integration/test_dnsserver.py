"""The name server of the tests says what it was told to say: other tests lean on that."""

import socket
import struct

import pytest

from dnsserver import NXDOMAIN, REFUSED, SERVFAIL, TYPES, pack_name
from peer import PATIENCE

OPT = b"\0" + struct.pack(">2HIH", 41, 1232, 0, 0)  # up to 1232 bytes by UDP


def question(name, kind, opt=b""):
    header = struct.pack(">6H", 77, 0x0100, 1, 0, 0, 1 if opt else 0)
    return header + pack_name(name) + struct.pack(">2H", TYPES[kind], 1) + opt


class Answer:
    def __init__(self, message):
        number, flags, _, self.count, _, _ = struct.unpack_from(">6H", message)
        assert number == 77 and flags & 0x8000
        self.code = flags & 15
        self.is_truncated = bool(flags & 0x0200)
        self.message = message


def ask(dns, name, kind, opt=b"", within=PATIENCE):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(within)
        sock.sendto(question(name, kind, opt), ("127.0.0.1", dns.port))
        return Answer(sock.recv(4096))


def ask_by_tcp(dns, name, kind):
    with socket.create_connection(("127.0.0.1", dns.port), PATIENCE) as sock, sock.makefile("rb") as stream:
        message = question(name, kind)
        sock.sendall(len(message).to_bytes(2, "big") + message)
        return Answer(stream.read(int.from_bytes(stream.read(2), "big")))


def test_addresses_by_family(dns):
    dns.host("db.test", "127.0.0.9", "::1", ttl=5)
    v4 = ask(dns, "DB.test", "A")
    assert (v4.code, v4.count) == (0, 1)
    assert v4.message.endswith(struct.pack(">IH", 5, 4) + b"\x7f\0\0\x09")
    assert ask(dns, "db.test", "AAAA").message.endswith(b"\0" * 15 + b"\1")
    assert ask(dns, "db.test", "SRV").count == 0


def test_answers_change(dns):
    assert ask(dns, "db.test", "A").code == NXDOMAIN
    dns.host("db.test", "127.0.0.1", "127.0.0.2")
    assert ask(dns, "db.test", "A").count == 2
    dns.host("db.test", "127.0.0.3")
    assert ask(dns, "db.test", "A").message.endswith(b"\x7f\0\0\x03")
    dns.forget("db.test")
    assert ask(dns, "db.test", "A").code == NXDOMAIN


def test_services_and_aliases(dns):
    dns.service("_db._tcp.test", (10, 5, 5432, "db.test"), (20, 0, 1, "."))
    assert ask(dns, "_db._tcp.test", "SRV").count == 2
    dns.host("db.test", "127.0.0.9")
    dns.alias("www.test", "db.test")
    answer = ask(dns, "www.test", "A")
    assert answer.count == 2 and answer.message.endswith(b"\x7f\0\0\x09")


def test_failures(dns):
    for code in (SERVFAIL, NXDOMAIN, REFUSED):
        dns.fail("broken.test", code)
        assert ask(dns, "broken.test", "A").code == code
    dns.recover("broken.test")
    dns.host("broken.test", "127.0.0.1")
    assert ask(dns, "broken.test", "A").count == 1


def test_silence(dns):
    dns.be_silent("slow.test")
    with pytest.raises(TimeoutError):
        ask(dns, "slow.test", "A", within=0.1)
    dns.wait_asked("slow.test", "A")


def test_truncation_leads_to_tcp(dns):
    dns.host("big.test", "127.0.0.1")
    dns.truncate("big.test")
    answer = ask(dns, "big.test", "A")
    assert answer.is_truncated and answer.count == 0
    assert ask_by_tcp(dns, "big.test", "A").count == 1
    assert (dns.asked("big.test", by="udp"), dns.asked("big.test", by="tcp")) == (1, 1)


def test_what_does_not_fit_is_truncated(dns):
    dns.host("many.test", *(f"127.0.1.{i}" for i in range(30)))  # 25 bytes each
    assert ask(dns, "many.test", "A").is_truncated
    assert ask(dns, "many.test", "A", OPT).count == 30
    assert ask_by_tcp(dns, "many.test", "A").count == 30


def test_a_closed_server_is_gone(dns):
    port = dns.port
    dns.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)
