"""The examples that forward: sni.lua, switch.lua and filter.lua, with real clients and rude ones."""

import ssl
import struct
import subprocess
import time

import pytest

from peer import pattern, until
from services import run
from talkers import Refusing, Talker
from test_examples import start_with_targets

# ---- TLS ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with a key and its certificate."""
    path = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=test", "-keyout", path / "key.pem", "-out", path / "cert.pem"],
                   check=True, capture_output=True)
    path.joinpath("both.pem").write_text(path.joinpath("key.pem").read_text() + path.joinpath("cert.pem").read_text())
    return path / "both.pem"


class TlsTalker(Talker):
    """Says its name inside TLS."""

    def __init__(self, name, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        super().__init__(name)

    def _talk(self, peer):
        try:
            peer.sock = self.context.wrap_socket(peer.sock, server_side=True)
        except OSError:
            return peer.close()
        super()._talk(peer)


def client_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def greeting(peer, name=None):
    """Who answers inside TLS, to a client that asks for this name; the connection is used both ways."""
    with client_context().wrap_socket(peer.sock, server_hostname=name) as sock:
        file = sock.makefile("rwb")
        line = file.readline()
        file.write(b"ping\n")
        file.flush()
        assert file.readline() == b"ping\n"
        return line.decode().strip()


def s_client(server, *options):
    """The first line that `openssl s_client` prints of what it is told; it would stay to hear more."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-quiet", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        line = process.stdout.readline()
        process.kill()
    return line


def client_hello(name="www.example.org"):
    """What a TLS client of today says first: one record."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def records(message, size):
    """A handshake message in TLS records of this many bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(struct.pack(">BHH", 22, 0x0301, len(part)) + part for part in parts)


def vector(width, data):
    return len(data).to_bytes(width, "big") + data


def extension(kind, data):
    return struct.pack(">H", kind) + vector(2, data)


def server_name(*names, kind=0):
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def hello_of(extensions, session=b"", suites=b"\x13\x01", compression=b"\0", tail=b""):
    """A ClientHello of these parts, as a record; extensions None: it ends before them."""
    body = b"\3\3" + pattern(32) + vector(1, session) + vector(2, suites) + vector(1, compression)
    body += b"" if extensions is None else vector(2, extensions)
    return records(b"\1" + vector(3, body + tail), 16384)


# ---- sni.lua ----

WWW, API, OTHER = "127.0.0.1:9443", "127.0.0.1:9444", "127.0.0.1:9445"
DECODE_ERROR, INTERNAL_ERROR = b"\x15\3\3\0\2\2\x32", b"\x15\3\3\0\2\2\x50"


@pytest.fixture
def sni(zerg, behind):
    """With servers that say who they are, and return what they get."""
    return start_with_targets(zerg, "sni.lua", {
        WWW: behind(Talker, "www").target, API: behind(Talker, "api").target, OTHER: behind(Talker, "other").target})


@pytest.fixture
def sni_of_tls(zerg, behind, certificate):
    return start_with_targets(zerg, "sni.lua", {
        WWW: behind(TlsTalker, "www", certificate).target, API: behind(TlsTalker, "api", certificate).target,
        OTHER: behind(TlsTalker, "other", certificate).target})


ROUTES = [("www.example.org", "www"), ("WWW.Example.ORG", "www"), ("v2.api.example.org", "api"),
          ("api.example.org", "other"), ("a.b.api.example.org", "other"), ("org", "other"), (None, "other")]


def test_sni_routes_tls_by_name(sni_of_tls):
    for name, server in ROUTES:
        assert greeting(sni_of_tls.connect(), name) == server, name


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sni_routes_openssl(sni_of_tls, version):
    for options, server in ((["-servername", "www.example.org"], b"www\n"), (["-noservername"], b"other\n")):
        assert s_client(sni_of_tls, version, *options) == server


def routed(server, data):
    """Who gets this and returns it as it was sent."""
    peer = server.connect().send(data)
    name = peer.line()
    peer.expect(data)
    peer.close()
    return name


def test_sni_hello_may_be_cut_anywhere(sni):
    hello = client_hello()
    peers = [sni.connect().send(hello[:at]) for at in range(1, len(hello))]
    time.sleep(0.05)  # lets the first parts arrive alone
    for at, peer in enumerate(peers, 1):
        peer.send(hello[at:])
    for peer in peers:
        assert peer.line() == "www"
        peer.expect(hello)


def test_sni_hello_may_come_byte_by_byte(sni):
    hello = client_hello()
    peer = sni.connect()
    for at in range(len(hello)):
        peer.send(hello[at : at + 1])
    assert peer.line() == "www"
    peer.expect(hello)


@pytest.mark.parametrize("size", [10, 100, 511, 4000])
def test_sni_hello_may_be_in_several_records(sni, size):
    assert routed(sni, records(client_hello()[5:], size)) == "www"


@pytest.mark.parametrize("hello, server", [
    (hello_of(server_name(b"www.example.org")), "www"),
    (hello_of(extension(10, b"x") + server_name(b"www.example.org") + extension(11, b"")), "www"),
    (hello_of(extension(10, b"x")), "other"),
    (hello_of(b""), "other"),
    (hello_of(None), "other"),
    (hello_of(extension(21, bytes(20_000)) + server_name(b"www.example.org")), "www"),
], ids=["only", "among_others", "without", "empty", "no_extensions", "large"])
def test_sni_finds_the_name(sni, hello, server):
    assert routed(sni, records(hello_message(hello), 16384)) == server


def hello_message(data):
    """What is in the records of `data`."""
    message = b""
    while data:
        length = struct.unpack(">H", data[3:5])[0]
        message, data = message + data[5 : 5 + length], data[5 + length :]
    return message


MALFORMED = {
    "two_names": hello_of(server_name(b"www.example.org", b"b")),
    "no_name": hello_of(server_name()),
    "empty_name": hello_of(server_name(b"")),
    "name_of_another_kind": hello_of(server_name(b"www.example.org", kind=1)),
    "name_with_zero": hello_of(server_name(b"www\0.example.org")),
    "name_with_blank": hello_of(server_name(b"www.example.org ")),
    "long_name": hello_of(server_name(b"x" * 256)),
    "extension_twice": hello_of(server_name(b"www.example.org") * 2),
    "extension_cut": hello_of(server_name(b"www.example.org") + b"\0"),
    "extension_too_long": hello_of(b"\0\0\0\x09abc"),
    "list_too_long": hello_of(extension(0, b"\0\x09\0\0\x01a")),
    "list_with_rest": hello_of(extension(0, vector(2, b"\0\0\1a") + b"x")),
    "rest": hello_of(b"", tail=b"x"),
    "long_session": hello_of(b"", session=bytes(33)),
    "no_suites": hello_of(b"", suites=b""),
    "odd_suites": hello_of(b"", suites=b"123"),
    "no_compression": hello_of(b"", compression=b""),
    "empty": records(b"\1\0\0\0", 100),
    "short": records(b"\1\0\0\x22" + bytes(34), 100),
    "old_version": records(b"\1\0\0\x2b\2\0" + bytes(41), 100),
    "another_message": records(b"\2\0\0\1x", 100),
    "more_behind_it": records(hello_message(hello_of(b"")) + b"\1", 16384),
    "too_long": records(b"\1\xff\xff\xff", 100),
    "many_records": records(b"\1" + vector(3, bytes(1000)), 2),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_sni_alerts_what_is_malformed(sni, data):
    peer = sni.connect().send(data)
    assert peer.rest() == DECODE_ERROR


NOT_TLS = {"http": b"GET / HTTP/1.1\r\n\r\n", "zero": b"\0", "data_record": b"\x17\3\3\0\1x", "ssl2": b"\x16\2\0\0\1x",
           "empty_record": b"\x16\3\1\0\0", "long_record": b"\x16\3\1\x40\1", "noise": pattern(100_000, seed=3)}


@pytest.mark.parametrize("data", NOT_TLS.values(), ids=NOT_TLS)
def test_sni_closes_what_is_not_tls(sni, data):
    peer = sni.connect()
    sender = peer.send_in_background(data)
    try:
        assert peer.rest() == b""
    except ConnectionResetError:  # it had more to say
        pass
    sender.join()


def test_sni_lets_clients_leave_in_the_middle(sni):
    hello = client_hello()
    for at in (0, 1, 5, 9, 100, len(hello) - 1):
        assert sni.connect().send(hello[:at]).half_close().rest() == b""
        sni.connect().send(hello[:at]).reset()
    assert routed(sni, hello) == "www"


def test_sni_does_not_wait_long_for_a_hello(sni):
    sni.connect().send(client_hello()[:50]).expect_end(within=5)


def test_sni_alerts_when_the_server_is_down(zerg, behind):
    server = start_with_targets(zerg, "sni.lua", {WWW: behind(Refusing).target})
    assert server.connect().send(client_hello()).rest() == INTERNAL_ERROR
    server.log.expect("sni: .* for www.example.org: refused")
    server.log.allow("cannot reach|upstream|server ")


# ---- switch.lua ----

HTTP, TLS, SSH = "127.0.0.1:8000", "127.0.0.1:9443", "127.0.0.1:22"


class Greeter(Talker):
    """Speaks first, as SSH does, and takes the version of the client."""

    def _talk(self, peer):
        try:
            peer.send("SSH-2.0-test\r\n")
            peer.send(b"you are " + peer.line().encode() + b"\n")
        except (AssertionError, OSError):
            pass
        peer.close()


class Page(Talker):
    """Answers any HTTP request."""

    def _talk(self, peer):
        try:
            while peer.line().strip():
                pass
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\npage\n")
        except (AssertionError, OSError):
            pass
        peer.close()


@pytest.fixture
def switch(zerg, behind, certificate):
    return start_with_targets(zerg, "switch.lua", {
        HTTP: behind(Page, "http").target, TLS: behind(TlsTalker, "tls", certificate).target,
        SSH: behind(Greeter, "ssh").target})


def test_switch_sends_curl_to_http(switch):
    url = f"http://127.0.0.1:{switch.port}/"
    for options in ([], ["-X", "DELETE"], ["-d", "data"]):
        assert run("curl", "-s", *options, url) == b"page\n"


def test_switch_sends_openssl_to_tls(switch):
    assert s_client(switch) == b"tls\n"


def test_switch_sends_clients_that_greet_to_ssh(switch):
    peer = switch.connect().send("SSH-2.0-client\r\n")
    assert peer.rest() == b"SSH-2.0-test\r\nyou are SSH-2.0-client\r\n"


def test_switch_waits_two_seconds_for_first_bytes(switch):
    """For these only: a client that was forwarded may be silent."""
    started = time.monotonic()
    silent, stuck = switch.connect(), switch.connect().send("GE")
    forwarded = switch.connect().send("GET / HTTP/1.1\r\n")
    assert silent.line() == "SSH-2.0-test\r"
    assert time.monotonic() - started > 1.9
    silent.send("SSH-2.0-client\n")
    assert silent.rest() == b"you are SSH-2.0-client\n"
    stuck.expect_end(within=1)
    assert time.monotonic() - started > 1.9
    time.sleep(0.2)
    forwarded.send("\r\n").expect("HTTP/1.1 200")


@pytest.mark.parametrize("data, answer", [(b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200"), (b"SSH-2.0-x\r\n", b"SSH-2.0-t"),
                                          (b"OPTIONS * HTTP/1.0\r\n\r\n", b"HTTP/1.1 200")])
def test_switch_takes_beginnings_in_any_pieces(switch, data, answer):
    peers = [switch.connect().send(data[:at]) for at in range(1, 10)]
    peers.append(switch.connect())
    for byte in data:
        peers[-1].send(bytes([byte]))
    time.sleep(0.05)  # lets the first parts arrive alone
    for at, peer in enumerate(peers[:-1], 1):
        peer.send(data[at:])
    for peer in peers:
        peer.expect(answer)


@pytest.mark.parametrize("data", [b"\0", b"get / HTTP/1.1\r\n", b"GETX / ", b"SSX", b"\x16\2", b"HELO x\r\n", b"PRI * HTTP/1"])
def test_switch_closes_what_it_does_not_know(switch, data):
    switch.connect().send(data).expect_end(within=1)


def test_switch_closes_what_ends_in_a_beginning(switch):
    switch.connect().send(b"GE").half_close().expect_end(within=1)
    switch.connect().half_close().expect_end(within=1)


def test_switch_closes_when_the_server_is_down(zerg, behind):
    server = start_with_targets(zerg, "switch.lua", {HTTP: behind(Refusing).target})
    server.log.allow("cannot reach|upstream|server ")
    server.connect().send("GET / HTTP/1.0\r\n\r\n").expect_end()
    server.log.expect("switch: .*: refused")


# ---- filter.lua ----

SERVER = "127.0.0.1:7000"


class Speaker(Talker):
    """Sends these pieces, one segment each, ends its stream, and takes what the client says."""

    def __init__(self, pieces, pause=0.0):
        self.pieces, self.pause, self.got = pieces, pause, b""
        super().__init__("speaker")

    def _talk(self, peer):
        for piece in self.pieces:
            peer.send(piece)
            time.sleep(self.pause)
        peer.half_close()
        self.got = peer.rest()
        peer.close()


def heard(zerg, behind, pieces, pause=0.0, said=b""):
    """What a client gets when the server behind filter.lua sends these pieces; and that server."""
    speaker = behind(Speaker, pieces, pause)
    server = start_with_targets(zerg, "filter.lua", {SERVER: speaker.target})
    peer = server.connect()
    sender = peer.send_in_background(said)
    out = peer.rest()
    sender.join()
    peer.half_close()
    until(lambda: server.log.find("lines in"), "the relay's end")
    return out, server, speaker


TEXT = b"a secret, secrets\nsesecret secre\nsecretsecret"


@pytest.mark.parametrize("pieces", [[TEXT], [TEXT[at : at + 1] for at in range(len(TEXT))],
                                    [TEXT[at : at + 3] for at in range(0, len(TEXT), 3)]], ids=["one", "bytes", "threes"])
def test_filter_blacks_a_word_out_wherever_it_is_cut(zerg, behind, pieces):
    out, _, _ = heard(zerg, behind, pieces, pause=0.002)
    assert out == TEXT.replace(b"secret", b"######")


@pytest.mark.parametrize("end", [b"s", b"secre", b"xsec\nse"])
def test_filter_passes_the_beginning_of_a_word_at_the_end(zerg, behind, end):
    assert heard(zerg, behind, [b"x ", end], pause=0.02)[0] == b"x " + end


def test_filter_passes_bulk_and_counts_lines(zerg, behind):
    down = pattern(3_000_000) + b"secret" + pattern(2_000_000, seed=2)
    up = b"line\n" * 100_000
    out, server, speaker = heard(zerg, behind, [down], said=up)
    assert out == down.replace(b"secret", b"######")
    until(lambda: speaker.got == up, "all the client said")
    server.log.wait(f"100000 lines in {len(up)} bytes up, {len(down)} bytes down")


def test_filter_does_not_hold_up_a_conversation(zerg, behind):
    talker = behind(Talker, "hello")
    peer = start_with_targets(zerg, "filter.lua", {SERVER: talker.target}).connect()
    assert peer.line() == "hello"
    assert peer.ask_line("tell me a secret") == "tell me a ######"
    assert peer.ask_line("yes") == "yes"


def test_filter_says_that_the_server_is_down(zerg, behind):
    target = behind(Refusing).target
    server = start_with_targets(zerg, "filter.lua", {SERVER: target})
    server.log.allow("cannot reach|upstream|server ")
    assert server.connect().rest().decode() == f"No answer from {target}: refused\n"
