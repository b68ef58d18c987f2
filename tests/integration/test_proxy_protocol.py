"""Listeners behind a load balancer that sends the PROXY protocol. The test is the load balancer, or its client."""

import json
import random
import signal
import socket
import ssl
import subprocess

import pytest

from peer import PATIENCE, Backend, Peer, pattern
from proxyheader import ALPN, AUTHORITY, LOCAL, NETNS, NOOP, UNIQUE_ID, field, ssl_field, v1, v2

# Answers each line with what it knows of the connection; fields are hexadecimal.
ABOUT = """
local proxy = conn.proxy
local seen = { remote = { conn.remote_addr, conn.remote_port }, ["local"] = { conn.local_addr, conn.local_port } }
if proxy then
  seen.proxy, seen.tlvs = {}, {}
  for name, value in pairs(proxy) do
    if name ~= "tlvs" then seen.proxy[name] = value end
  end
  for kind, value in pairs(proxy.tlvs) do
    seen.tlvs[("%02x"):format(kind)] = value:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  end
end
local reader = conn:reader()
for line in function() return reader:read_line() end do
  seen.line, seen.bytes_in = line, conn.bytes_in
  conn:write(zerg.json.encode(seen), "\\n")
end
conn:write("end\\n")
"""

RINGS = [
    pytest.param({"incremental": False}, id="plain"),
    pytest.param({"incremental": True}, id="incremental"),
    pytest.param({"incremental": True, "recv_buffer_size": 1024, "buffer_ring_entries": 1}, id="one-buffer"),
]


def listener(**options):
    return {"address": "127.0.0.1", "name": "front", "proxy_protocol": True, **options}


@pytest.fixture(params=RINGS)
def ring(request):
    return request.param


@pytest.fixture
def front(zerg):
    """Starts a server that tells what it knows of its connections."""

    def start(ring=None, **options):
        return zerg(ABOUT, listeners=[listener(**options)], reactor=ring or {})

    return start


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.close()


def about(peer, line="hello"):
    return json.loads(peer.ask_line(line))


def refused(server, data, because):
    """Sends what is no header: not a byte comes back, and the log says why."""
    peer = server.connect()
    try:
        peer.send(data)
        assert peer.rest() == b""
    except ConnectionResetError:
        pass
    server.log.wait(f"info.*listener front: conn .* from 127.0.0.1:.*PROXY protocol header: {because}")


# ---- headers of both versions ----


def test_version_1(front, ring):
    server = front(ring)
    peer = server.connect().send(v1())
    seen = about(peer)
    assert seen["remote"] == ["192.0.2.7", 40000] and seen["local"] == ["198.51.100.1", 443]
    assert seen["proxy"] == {
        "version": 1, "command": "proxy", "crc32c": False, "source_addr": "192.0.2.7", "source_port": 40000,
        "destination_addr": "198.51.100.1", "destination_port": 443, "peer_addr": "127.0.0.1",
        "peer_port": peer.name[1]}
    assert seen["tlvs"] == {}
    assert seen["line"] == "hello" and seen["bytes_in"] == len("hello\n")


@pytest.mark.parametrize("source, destination", [("192.0.2.7", "198.51.100.1"), ("2001:db8::7", "2001:db8::1"),
                                                 ("/run/client", "/run/front")])
def test_version_2(front, ring, source, destination):
    seen = about(front(ring).connect().send(v2(source=source, destination=destination)))
    ports = [0, 0] if source[0] == "/" else [40000, 443]
    assert seen["remote"] == [source, ports[0]] and seen["local"] == [destination, ports[1]]
    assert seen["proxy"]["version"] == 2 and seen["proxy"]["command"] == "proxy"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 2\r\n", v2(command=LOCAL),
                                    v2(field(NOOP, b"xyz"), command=LOCAL)])
def test_a_proxy_that_speaks_for_nobody(front, header):
    server = front()
    peer = server.connect().send(header)
    seen = about(peer)
    assert seen["remote"] == list(peer.name) and seen["local"] == ["127.0.0.1", server.port]
    assert seen["proxy"]["command"] == ("proxy" if header[:5] == b"PROXY" else "local")
    assert "source_addr" not in seen["proxy"]


def test_fields_of_version_2(front, ring):
    tls = ssl_field(5, 0, field(0x21, b"TLSv1.3"), field(0x22, b"ann"), field(0x23, b"ECDHE"), field(0x24, b"SHA256"),
                    field(0x25, b"RSA2048"))
    header = v2(field(ALPN, b"h2"), field(AUTHORITY, b"www.example.org"), field(UNIQUE_ID, b"\0id"),
                field(NETNS, b"blue"), tls, field(0xe0, b"first"), field(0xe0, b"second"), field(0xef, b""),
                checksum="good")
    seen = about(front(ring).connect().send(header))
    proxy = seen["proxy"]
    assert proxy["crc32c"] is True
    assert (proxy["alpn"], proxy["authority"]) == ("h2", "www.example.org")
    assert (proxy["unique_id"], proxy["netns"]) == ("\0id", "blue")
    assert proxy["ssl"] == {"version": "TLSv1.3", "cn": "ann", "cipher": "ECDHE", "sig_alg": "SHA256",
                            "key_alg": "RSA2048", "verify": 0,
                            "client": {"tls": True, "cert_conn": False, "cert_sess": True}}
    assert seen["tlvs"]["e0"] == b"first".hex() and seen["tlvs"]["ef"] == ""


@pytest.mark.parametrize("header", [v1(), v2(field(NETNS, b"blue"), checksum="good"), v2(field(NOOP, bytes(4000)))],
                         ids=["v1", "v2", "long"])
def test_a_header_in_many_pieces(front, ring, header):
    server = front(ring)
    step = 1 if len(header) < 200 else 97
    slow, quick = server.connect(), server.connect()
    for at in range(0, len(header), step):
        slow.send(header[at:at + step])
        if at % 7 == 0:
            server.connect().send(header + b"x\n").line()  # others are served meanwhile
    assert about(slow)["remote"] == ["192.0.2.7", 40000]
    assert about(quick.send(header + b"early\n"))["line"] == "early"


@pytest.mark.threads
def test_every_engine_takes_headers(zerg, engine, backend):
    server = zerg(ABOUT, listeners=[listener(), listener(name="relay", forward=backend.target)])
    for number in range(8):
        header = v2(ports=(number, 443)) if number % 2 else v1(ports=(number, 443))
        assert about(server.connect().send(header))["remote"] == ["192.0.2.7", number]
        client = server.connect(1).send(header + b"hello")
        upstream = backend.accept()
        upstream.expect("hello").send("thanks").close()
        client.expect("thanks")
        client.expect_end()


def test_what_is_behind_the_header_reaches_the_handler_as_it_is(zerg, ring):
    """Also what looks like another header."""
    server = zerg("for data in conn:reads() do conn:write(data) end", listeners=[listener()], reactor=ring)
    for payload in (v1(), v2(), pattern(300_000)):
        peer = server.connect()
        thread = peer.send_in_background(v2(checksum="good") + payload)
        peer.expect(payload)
        thread.join(PATIENCE)


def test_a_stream_that_ends_behind_the_header(front, ring):
    for rest in (b"", b"hello\n"):
        answer = front(ring).connect().send(v1() + rest).half_close().rest()
        assert answer.endswith(b"end\n") and answer.count(b"\n") == 1 + len(rest[:1])


# ---- forwarding ----


def test_a_relay_sends_what_is_behind_the_header(zerg, backend, ring):
    server = zerg(listeners=[listener(forward=backend.target)], reactor=ring)
    for header in (v1(), v2(field(NOOP, bytes(2000)), checksum="good")):
        client = server.connect()
        client.send(header[:9])
        client.send(header[9:] + pattern(5_000))
        upstream = backend.accept()
        client.send_in_background(pattern(500_000)).join(PATIENCE)
        client.half_close()
        assert upstream.rest() == pattern(5_000) + pattern(500_000)
        upstream.send("got it").close()
        assert client.rest() == b"got it"


def test_a_relay_connects_when_the_header_is_there(zerg, backend):
    server = zerg(listeners=[listener(forward=backend.target)])
    client = server.connect().send(v1()[:-1])
    backend.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        backend.accept()
    backend.sock.settimeout(PATIENCE)
    client.send(b"\n")
    backend.accept().send("220 ready")
    client.expect("220 ready")


# ---- bad headers, and none ----


@pytest.mark.parametrize("data, because", [
    (b"GET / HTTP/1.1\r\n\r\n", "does not begin as either version does"),
    (b"\x16\x03\x01\x02\0", "does not begin as either version does"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n", "not two addresses and two ports"),
    (b"PROXY " + b"x" * 200, "no CRLF within 107 bytes"),
    (v2(checksum="bad"), "the checksum is wrong"),
    (v2()[:14] + b"\xff\xff" + bytes(20), "longer than any header may be"),
    (v2()[:14] + b"\0\1" + bytes(20), "too short for its addresses"),
])
def test_a_bad_header_ends_the_connection(front, data, because):
    server = front()
    refused(server, data, because)
    assert about(server.connect().send(v1()))["remote"] == ["192.0.2.7", 40000]


@pytest.mark.parametrize("header", [v1(), v2(field(NETNS, b"blue"))])
def test_a_stream_that_ends_inside_the_header(front, header):
    server = front()
    for count in (1, 15, len(header) - 1):
        assert server.connect().send(header[:count]).half_close().rest() == b""
        server.log.wait(f"the stream ended after {count} bytes")


def test_a_client_that_leaves_without_a_byte_leaves_no_line(front):
    server = front()
    for _ in range(3):
        server.connect().close()
    about(server.connect().send(v1()))
    server.stop()
    assert "PROXY" not in server.log.text()


def test_a_header_must_come_in_time(front):
    server = front(timeouts={"handshake": 0.3})
    silent, slow = server.connect(), server.connect().send("PROXY TCP4")
    in_time = server.connect().send(v1())
    for peer in (silent, slow):
        peer.expect_reset()
    server.log.wait("front: conn .* sent no good PROXY protocol header: none within 0.3 s")
    in_time.expect_silence(0.4)
    assert about(in_time)["remote"] == ["192.0.2.7", 40000]


def test_the_idle_time_begins_behind_the_header(front):
    server = front(timeouts={"idle": 0.5, "handshake": 30})
    peer = server.connect()
    peer.expect_silence(0.8)
    peer.send(v1())
    assert peer.rest() == b""


# ---- whom to believe ----


@pytest.mark.parametrize("trusted, believed", [(["127.0.0.0/8"], True), (["10.0.0.0/8", "127.0.0.1"], True), ([], True),
                                               (["10.0.0.0/8", "::1", "unix"], False)])
def test_only_who_is_trusted_is_believed(front, trusted, believed):
    peer = front(trusted=trusted).connect()
    seen = about(peer, v1().decode() + "hello")
    if believed:
        assert seen["remote"] == ["192.0.2.7", 40000]
    else:
        assert seen["remote"] == list(peer.name) and "proxy" not in seen and seen["line"].startswith("PROXY TCP4")


def test_who_is_not_trusted_waits_for_nothing(zerg):
    server = zerg('conn:write("220 ready\\n")', listeners=[listener(trusted=["10.0.0.1"])])
    server.connect().expect("220 ready\n")


@pytest.mark.parametrize("trusted, believed", [("unix", True), ("127.0.0.1", False)])
def test_a_unix_socket(zerg, trusted, believed):
    row = {"path": "front.sock", "name": "front", "proxy_protocol": True, "trusted": [trusted]}
    peer = zerg(ABOUT, listeners=[row]).connect()
    seen = about(peer, v1().decode() + "hello")
    assert seen["remote"] == (["192.0.2.7", 40000] if believed else ["", 0])
    if believed:
        assert seen["proxy"]["peer_addr"] == ""


# ---- the end of the server, and limits ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_ends_while_clients_wait(front, number):
    """A stop cuts them; a drain gives them the time for their header."""
    server = front(timeouts={"handshake": 0.5})
    peers = [server.connect(), server.connect().send("PROXY TCP4 ")]
    server.send_signal(number)
    assert server.wait_exit() == 0
    for peer in peers:
        try:
            assert peer.rest() == b""
        except ConnectionResetError:
            pass


@pytest.mark.threads
def test_many_that_come_and_go(zerg, engine, backend):
    """Headers in random pieces, of which many are cut short; nothing stays behind, as the end of every test checks."""
    server = zerg("for data in conn:reads() do conn:write(data) end",
                  listeners=[listener(), listener(name="relay", forward=backend.target)])
    server.log.allow("cannot reach")
    backend.close()
    chance = random.Random(5)
    for _ in range(300):
        header = chance.choice((v1(), v2(field(NOOP, bytes(chance.choice((0, 3000)))), checksum="good")))
        peer = server.connect(chance.randrange(2))
        cuts = sorted(chance.sample(range(len(header) + 5), 3))
        try:
            for start, end in zip([0, *cuts], cuts):
                peer.send((header + b"hello")[start:end])
            chance.choice((peer.close, peer.reset, peer.half_close))()
        except OSError:  # refused already
            pass
    assert server.connect().send(v1()).ask("hello")


def test_those_who_wait_count_as_connections(front):
    server = front(max_connections=2)
    first, second, third = server.connect_many(3)
    about(first.send(v1()))
    third.send(v1() + b"late\n").expect_silence(0.3)
    second.send("x")
    assert json.loads(third.line())["line"] == "late"


# ---- real senders ----


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and its certificate, which is its own authority."""
    path = tmp_path / "front.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=ann", "-keyout", path, "-out", tmp_path / "cert.pem"],
                   check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "cert.pem").read_text())
    return path


def through(service, server):
    """A client of the load balancer."""
    server.log.wait("is ready")
    return Peer(socket.create_connection(("127.0.0.1", service.port), PATIENCE))


def haproxy(services, server, options, bind=""):
    text = f"listen front\n  mode tcp\n  bind 127.0.0.1:@PORT {bind}\n  unique-id-format %pid-%rt\n"
    return services.haproxy(text + f"  server zerg 127.0.0.1:{server.port} {options}\n")


@pytest.mark.parametrize("options, version, crc32c", [
    ("send-proxy", 1, False), ("send-proxy-v2", 2, False),
    ("send-proxy-v2 proxy-v2-options crc32c,unique-id", 2, True)])
def test_haproxy(front, services, options, version, crc32c):
    server = front()
    service = haproxy(services, server, options)
    client = through(service, server)
    seen = about(client)
    assert seen["remote"] == list(client.name) and seen["local"] == ["127.0.0.1", service.port]
    proxy = seen["proxy"]
    assert (proxy["version"], proxy["crc32c"]) == (version, crc32c)
    assert ("unique_id" in proxy) == crc32c
    assert proxy["peer_addr"] == "127.0.0.1" and proxy["peer_port"] != client.name[1]
    assert about(client, "more")["line"] == "more"


def test_haproxy_tells_of_tls(front, services, certificate):
    server = front()
    options = "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c"
    bind = f"ssl crt {certificate} ca-file {certificate} verify optional alpn h2,http/1.1"
    service = haproxy(services, server, options, bind)
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate)
    with through(service, server) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname="www.example.org")
        proxy = about(client)["proxy"]
        version, cipher = client.sock.version(), client.sock.cipher()[0]
    assert (proxy["authority"], proxy["alpn"]) == ("www.example.org", "http/1.1")
    tls = proxy["ssl"]
    assert (tls["version"], tls["cipher"], tls["cn"], tls["verify"]) == (version, cipher, "ann", 0)
    assert tls["client"] == {"tls": True, "cert_conn": True, "cert_sess": True}
    assert tls["key_alg"] == "EC256" and "SHA256" in tls["sig_alg"]


def test_checks_of_haproxy_are_local(zerg, services):
    server = zerg('zerg.log.info("%s from %s", conn.proxy.command, conn.remote_addr) conn:wait()',
                  listeners=[listener()])
    service = haproxy(services, server, "send-proxy-v2 check check-send-proxy inter 50ms")
    server.log.wait("local from 127.0.0.1")
    through(service, server).send("x")
    server.log.wait("proxy from 127.0.0.1")


def test_nginx(front, services):
    server = front()
    service = services.nginx(stream=f"server {{ listen 127.0.0.1:@PORT; proxy_pass 127.0.0.1:{server.port};"
                                    " proxy_protocol on; }")
    client = through(service, server)
    seen = about(client)
    assert seen["remote"] == list(client.name) and seen["local"] == ["127.0.0.1", service.port]
    assert seen["proxy"]["version"] == 1


def test_haproxy_in_front_of_a_relay(zerg, services, backend):
    server = zerg(listeners=[listener(forward=backend.target)])
    service = haproxy(services, server, "send-proxy-v2")
    client = through(service, server)
    client.send(pattern(200_000))
    upstream = backend.accept()
    while not upstream.sock.recv(1, socket.MSG_PEEK):  # from when HAProxy was tried out
        upstream = backend.accept()
    assert upstream.receive(200_000) == pattern(200_000)
    upstream.send(pattern(300_000))
    assert client.receive(300_000) == pattern(300_000)
