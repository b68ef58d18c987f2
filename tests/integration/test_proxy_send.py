"""The PROXY protocol towards servers: nginx, HAProxy, and one that looks at every byte, see the client as it is."""

import hashlib
import re
import socket
import struct

import pytest

from peer import Backend, dial, pattern
from services import run

CLIENT = "127.0.0.7"  # so that it is not mistaken for the proxy
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
RINGS = [pytest.param({"incremental": False}, id="plain"), pytest.param({"incremental": True}, id="incremental")]


@pytest.fixture(params=RINGS)
def ring(request):
    return request.param


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def version(request):
    return request.param


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.close()


@pytest.fixture
def proxy(zerg):
    """Starts a server that forwards to a target with a header in front."""

    def start(target, version, *, listener=None, ring=None, **upstream):
        server = zerg(listeners=[{"address": "127.0.0.1", "forward": "app", **(listener or {})}], reactor=ring or {},
                      upstreams={"app": {"servers": [target], "proxy_protocol": version, **upstream}})
        return server.wait_listening()

    return start


# ---- what is sent ----


def v1(family, client, listener):
    return f"PROXY {family} {client[0]} {listener[0]} {client[1]} {listener[1]}\r\n".encode()


def v2(family, client, listener):
    kind = socket.AF_INET if family == "TCP4" else socket.AF_INET6
    addresses = socket.inet_pton(kind, client[0]) + socket.inet_pton(kind, listener[0])
    body = addresses + struct.pack("!HH", client[1], listener[1])
    return V2_SIGNATURE + bytes([0x21, 0x11 if family == "TCP4" else 0x21]) + struct.pack("!H", len(body)) + body


def expect_header(upstream, version, family, client, listener):
    """The header of this connection, and that nothing else comes before the client's bytes."""
    upstream.expect((v1 if version == 1 else v2)(family, client, listener))


def test_the_header_comes_first(proxy, backend, version, ring):
    """Also when the client has sent much already, or is not the first to speak."""
    server = proxy(backend.target, version, ring=ring)
    talker = server.connect(source=CLIENT).send(pattern(50_000))
    upstream = backend.accept()
    expect_header(upstream, version, "TCP4", talker.name, talker.sock.getpeername())
    upstream.expect(pattern(50_000)).send("answer")
    talker.expect("answer")
    listener = server.connect(source=CLIENT)
    upstream = backend.accept()
    expect_header(upstream, version, "TCP4", listener.name, listener.sock.getpeername())
    upstream.send("220 hello\r\n")
    listener.expect("220 hello\r\n").half_close()
    upstream.expect_end()


def test_a_client_that_says_nothing(proxy, backend, version):
    """It ends its stream before the server is there; the header comes all the same, then the end."""
    client = proxy(backend.target, version).connect(source=CLIENT).half_close()
    upstream = backend.accept()
    expect_header(upstream, version, "TCP4", client.name, client.sock.getpeername())
    upstream.expect_end()


def test_a_client_by_ipv6_of_a_server_by_ipv4(proxy, backend, version):
    client = proxy(backend.target, version, listener={"address": "::1"}).connect()
    upstream = backend.accept()
    expect_header(upstream, version, "TCP6", client.name[:2], client.sock.getpeername()[:2])
    upstream.send("hello")
    client.expect("hello")


def test_a_client_of_a_unix_socket(proxy, backend, version, tmp_path):
    """It has no address: version 1 says UNKNOWN, and version 2 no IP address either."""
    front = {"address": None, "path": str(tmp_path / "front.sock")}
    client = proxy(backend.target, version, listener=front).connect().send("hello")
    upstream = backend.accept()
    if version == 1:
        upstream.expect("PROXY UNKNOWN\r\n")
    else:
        upstream.expect(V2_SIGNATURE)
        command, family, length = struct.unpack("!BBH", upstream.receive(4))
        assert command in (0x20, 0x21) and family >> 4 in (0, 3)
        upstream.receive(length)
    upstream.expect("hello")
    client.close()


def test_a_server_on_a_unix_socket(proxy, version, tmp_path):
    backend = Backend(str(tmp_path / "behind.sock"))
    client = proxy(backend.target, version).connect(source=CLIENT).send("hello")
    upstream = backend.accept()
    expect_header(upstream, version, "TCP4", client.name, client.sock.getpeername())
    upstream.expect("hello")
    backend.close()


def test_every_attempt_has_its_header(proxy, backend, version):
    """The server that is tried after one that refuses gets it, whole and once."""
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        bad = f"127.0.0.1:{refusing.getsockname()[1]}"
        server = proxy(bad, version, servers=[bad, backend.target], retries=1, max_fails=0)
        server.log.allow("refused")
        for _ in range(4):
            client = server.connect(source=CLIENT).send("hello")
            upstream = backend.accept()
            expect_header(upstream, version, "TCP4", client.name, client.sock.getpeername())
            upstream.expect("hello")


# ---- to nginx and HAProxy ----

NGINX_HTTP = """
  server {
    listen 127.0.0.1:@PORT proxy_protocol;
    location /put/ { root @DIR; dav_methods PUT; create_full_put_path on; }
    location / {
      return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\\n";
    }
  }
"""
NGINX_STREAM = """
  server {
    listen 127.0.0.1:@PORT proxy_protocol;
    return "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\\n";
  }
"""
HAPROXY_HTTP = """
frontend receiver
  mode http
  bind 127.0.0.1:@PORT accept-proxy
  http-request deny unless { fc_rcvd_proxy }
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]\\n"
"""
HAPROXY_TCP = """
listen receiver
  mode tcp
  bind 127.0.0.1:@PORT accept-proxy
  server behind {target} send-proxy-v2
"""


def seen_by_http(url):
    """Who a web server takes curl for, and who curl is."""
    names = "%{local_ip} %{local_port} %{remote_ip} %{remote_port}"
    return run("curl", "-sS", "--fail", "--interface", CLIENT, "-w", names, url).decode().split("\n")


def test_nginx_sees_the_client(proxy, services, version, ring):
    nginx = services.nginx(NGINX_HTTP)
    port = proxy(nginx.target, version, ring=ring).port
    for _ in range(3):
        seen, true = seen_by_http(f"http://127.0.0.1:{port}/")
        assert seen == true


def test_nginx_stream_sees_the_client(proxy, services, version):
    """It answers at the header, before the client has said anything."""
    server = proxy(services.nginx(stream=NGINX_STREAM).target, version)
    client = server.connect(source=CLIENT)
    seen = client.line().split()
    assert seen == [CLIENT, str(client.name[1]), "127.0.0.1", str(server.port)]
    client.expect_end()


def test_nginx_takes_uploads_behind_the_header(proxy, services, version, ring, tmp_path):
    nginx = services.nginx(NGINX_HTTP)
    port = proxy(nginx.target, version, ring=ring).port
    (tmp_path / "file").write_bytes(pattern(5_000_000))
    run("curl", "-sS", "--fail", "-T", tmp_path / "file", f"http://127.0.0.1:{port}/put/file")
    got = (nginx.path / "put/file").read_bytes()
    assert hashlib.sha256(got).digest() == hashlib.sha256(pattern(5_000_000)).digest()


def test_haproxy_sees_the_client(proxy, services, version, ring):
    haproxy = services.haproxy(HAPROXY_HTTP)
    port = proxy(haproxy.target, version, ring=ring).port
    for _ in range(3):
        seen, true = seen_by_http(f"http://127.0.0.1:{port}/")
        assert seen == true


def test_haproxy_passes_the_client_on(proxy, services, version):
    """A chain: ours, HAProxy's in front of nginx, which still sees who began it."""
    nginx = services.nginx(NGINX_HTTP)
    haproxy = services.haproxy(HAPROXY_TCP.format(target=nginx.target))
    seen, true = seen_by_http(f"http://127.0.0.1:{proxy(haproxy.target, version).port}/")
    assert seen == true


def test_without_the_option_there_is_no_header(proxy, services, backend):
    """nginx takes a connection without one for broken, so what it said of the others was not by chance."""
    client = proxy(backend.target, 0).connect().send("hello")
    backend.accept().expect("hello")
    client.close()
    nginx = services.nginx(NGINX_HTTP)
    with dial(("127.0.0.1", proxy(nginx.target, 0).port)) as client:
        client.send("GET / HTTP/1.0\r\n\r\n")
        assert not re.search(rb"\d+\.\d+\.\d+\.\d+ \d+", client.rest())
