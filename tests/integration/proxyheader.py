"""PROXY protocol headers as a load balancer makes them, written after the specification, with a checksum of its own."""

import socket
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21  # version and command
TCP4, TCP6, UNIX = 0x11, 0x21, 0x31  # family and transport

ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30


def crc32c(data):
    value = 0xffffffff
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    return value ^ 0xffffffff


def v1(source="192.0.2.7", destination="198.51.100.1", ports=(40000, 443)):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()


def field(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def ssl_field(client, verify, *fields):
    return field(SSL, struct.pack("!BI", client, verify) + b"".join(fields))


def addresses(source, destination, ports):
    if source.startswith("/"):
        return UNIX, source.encode().ljust(108, b"\0") + destination.encode().ljust(108, b"\0")
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    hosts = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    return TCP6 if ":" in source else TCP4, hosts + struct.pack("!HH", *ports)


def v2(*fields, source="192.0.2.7", destination="198.51.100.1", ports=(40000, 443), command=PROXY, checksum=None):
    """checksum: "good" or "bad" adds one."""
    kind, rest = addresses(source, destination, ports) if command == PROXY else (0, b"")
    rest += b"".join(fields)
    at = 16 + len(rest) + 3
    if checksum:
        rest += field(CRC32C, bytes(4))
    header = SIGNATURE + struct.pack("!BBH", command, kind, len(rest)) + rest
    if not checksum:
        return header
    value = crc32c(header) ^ (checksum == "bad")
    return header[:at] + struct.pack("!I", value) + header[at + 4:]
