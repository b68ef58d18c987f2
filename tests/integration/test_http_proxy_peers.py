"""The reverse proxy between clients and servers that others wrote: nginx, HAProxy and node behind it, curl, wrk, ab,
h2load and node in front; and WebSocket, which goes through it once both sides have agreed on it."""

import pytest

from httpserver import UPGRADE, Answering, answered, switched
from httptalk import answer, get
from peer import PATIENCE, SCALE, pattern
from webclients import NODE_AGENT, NODE_FETCH, NODE_MODULES, NODE_STREAM, ab, curl, h2load, node, wrk

# With the paths that the scripts of webclients.py ask for.
NODE_SERVER = """
const http = require("http")
http.createServer(async (req, res) => {
  if (req.url === "/hello") {
    res.setHeader("Content-Length", 6)
    return res.end("hello\\n")
  }
  if (req.url !== "/json") return req.pipe(res)
  const parts = []
  for await (const part of req) parts.push(part)
  res.end(JSON.stringify({ value: JSON.parse(Buffer.concat(parts)) }))
}).listen(+process.argv[2], "127.0.0.1")
"""
NGINX_SERVER = """
server {
  listen 127.0.0.1:@PORT;
  keepalive_requests 500;
  root @DIR/files;
  location = /hello { default_type text/plain; return 200 "hello\\n"; }
}
"""
HAPROXY_SERVER = """
frontend web
  mode http
  bind 127.0.0.1:@PORT
  http-request return status 200 content-type text/plain string "hello\\n"
"""
SERVERS = {
    "nginx": lambda services: services.nginx(NGINX_SERVER),
    "haproxy": lambda services: services.haproxy(HAPROXY_SERVER),
    "node": lambda services: services.node(NODE_SERVER),
}


@pytest.fixture
def site(services, proxy):
    """Starts one of these servers and, to end before it, a proxy; returns the server, and the proxy's address."""

    def start(name, **options):
        behind = SERVERS[name](services)
        server = proxy(behind.target, **options)
        return behind, f"http://127.0.0.1:{server.port}"
    return start


@pytest.mark.parametrize("name", SERVERS)
def test_those_that_measure_see_no_error(site, quick_engine, name):
    _, url = site(name)
    assert wrk(url + "/hello") > 100
    ab(url + "/hello", count=500)
    assert "Keep-Alive requests:    2000" in ab(url + "/hello", "-k")
    h2load(url + "/hello")


@pytest.mark.parametrize("name", SERVERS)
def test_curl_is_content(site, engine, name):
    _, url = site(name)
    words = [word for _ in range(3) for word in ("-o", "/dev/null", url + "/hello")]
    assert curl("-w", "%{http_code} %{num_connects},", *words) == "200 1,200 0,200 0,"
    assert curl("-i", "--http1.0", url + "/hello").endswith("\r\n\r\nhello\n")
    got = curl("-I", url + "/hello", "--next", "-sS", "-w", "%{num_connects}", url + "/hello")
    assert got.endswith("\r\n\r\nhello\n0")


def test_wrk_pipelines_bodies(site, tmp_path, quick_engine):
    _, url = site("node")
    script = tmp_path / "pipelined.lua"
    script.write_text("""
        local text
        function init() text = (wrk.format("GET", "/hello") .. wrk.format("POST", "/body", nil, "abc")):rep(16) end
        function request() return text end
    """)
    assert wrk(url + "/hello", "-s", script) > 100


def test_files_of_nginx(site, engine):
    nginx, url = site("nginx")
    data = pattern(3_000_000)
    (nginx.path / "files").mkdir(exist_ok=True)
    (nginx.path / "files/data").write_bytes(data)
    url += "/data"
    text = data.decode("latin-1")
    assert curl(url) == text
    for given, part in (("100-199", text[100:200]), ("-500", text[-500:]), ("2999999-", text[-1:])):
        assert curl("-r", given, "-w", "%{http_code}", url) == part + "206", given
    assert curl("-r", "3000000-", "-o", "/dev/null", "-w", "%{http_code}", url) == "416"
    parts = curl("-r", "0-99,1000-1099", url)
    assert text[:100] in parts and text[1000:1100] in parts and len(parts) < 1000
    fields = curl("-I", url)
    assert "Content-Length: 3000000\r\n" in fields
    etag = fields.split("ETag: ")[1].split("\r\n")[0]
    assert curl("-H", f"If-None-Match: {etag}", "-w", "%{http_code}", url) == "304"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", url + "/missing") == "404"


def test_uploads_to_node(site, engine):
    _, url = site("node", listener={"limits": {"body_bytes": "8m"}})
    data = pattern(3_000_000)
    assert curl("-T", "-", url + "/body", input=data) == data.decode("latin-1")
    got = curl("-v", "--expect100-timeout", "60", "-H", "Expect: 100-continue", "--data-binary", "abc", "--stderr", "-",
               url + "/body")
    assert got.count("< HTTP/1.1 100 Continue") == 1 and "\nabc" in got


@pytest.mark.parametrize("script, said", [(NODE_AGENT, ""), (NODE_STREAM, "101\n"), (NODE_FETCH, "2000000\n")],
                         ids=["agent", "stream", "fetch"])
def test_node_is_content_with_node(site, quick_engine, script, said):
    _, url = site("node", listener={"limits": {"body_bytes": "8m"}})
    assert node(script, url) == said


# ---- what is no HTTP any more ----

def test_a_connection_that_was_switched_is_a_relay(proxy, upstream, engine):
    server = proxy(upstream.target)
    client = server.connect()
    peer = switched(client, upstream, "first")
    client.expect("first").send("GET / HTTP/1.1\r\n\r\n")
    assert peer.receive(18) == b"GET / HTTP/1.1\r\n\r\n"
    peer.send("HTTP/1.1 400 Bad\r\n\r\n")
    client.expect("HTTP/1.1 400 Bad\r\n\r\n").half_close()
    assert peer.request() is None
    data = pattern(1_000_000)
    sender = peer.send_in_background(data)
    assert client.receive(len(data)) == data
    sender.join()
    peer.close()
    assert client.rest() == b""
    upstream.turn(server.connect(), get("/"))


def test_a_connection_that_was_switched_is_ended_by_a_reset_of_either(proxy, upstream, engine):
    server = proxy(upstream.target)
    client = server.connect()
    peer = switched(client, upstream)
    client.reset()
    peer.expect_gone()
    client = server.connect()
    peer = switched(client, upstream)
    peer.reset()
    client.expect_reset()


def test_a_connection_that_was_switched_may_be_silent(proxy, upstream):
    client = proxy(upstream.target, read_timeout=0.2 * SCALE).connect()
    peer = switched(client, upstream)
    peer.expect_silence(0.6 * SCALE)
    peer.sock.settimeout(PATIENCE)
    client.send("still here")
    assert peer.receive(10) == b"still here"


def test_who_is_not_switched_goes_on(proxy, upstream, engine):
    client = proxy(upstream.target).connect()
    peer, _ = upstream.turn(client, UPGRADE, answered("no, thanks"))
    got = answer(client)
    assert (got.status, got.body) == (200, b"no, thanks")
    for _ in range(2):
        upstream.turn(client, get("/"), peer=peer)
        assert answer(client).body == b"ok"


def test_bytes_behind_a_request_to_switch_are_no_request_before_the_answer(proxy, behind):
    """A client that speaks on too early is not taken for one that has pipelined, until it was refused."""
    server = behind(Answering, lambda request: answered(request.target))
    client = proxy(server.target).connect()
    client.send(UPGRADE + get("/next"))
    assert answer(client).body == b"/chat"
    assert answer(client).body == b"/next"


WS_SERVER = f"""
module.paths.push("{NODE_MODULES}")
const {{ WebSocketServer }} = require("ws")
const server = new WebSocketServer({{ port: +process.argv[2], host: "127.0.0.1" }})
server.on("connection", (socket) => {{
  socket.on("message", (data, isBinary) => {{
    const word = isBinary ? [] : data.toString().split(" ")
    if (word[0] === "close") socket.close(+word[1], "as asked")
    else if (word[0] === "many") for (let i = 0; i < +word[1]; i++) socket.send("message " + i)
    else if (word[0] === "ping") {{
      socket.once("pong", (said) => socket.send("ponged " + said))
      socket.ping("there?")
    }} else socket.send(data, {{ binary: isBinary }})
  }})
  socket.on("close", (code, reason) => console.log("closed " + code + " " + reason))
}})
"""

WS_CLIENT = """
const WebSocket = require("ws"), assert = require("assert"), { once } = require("events")
const url = process.argv[1]

function connect() { return new Promise((resolve, reject) => {
  const socket = new WebSocket(url)
  socket.queue = []
  socket.on("message", (data, isBinary) => {
    socket.queue.push(isBinary ? data : data.toString())
    socket.emit("queued")
  })
  socket.on("open", () => resolve(socket))
  socket.on("error", reject)
}) }

async function next(socket) {
  while (socket.queue.length === 0) await once(socket, "queued")
  return socket.queue.shift()
}

async function main() {
  const socket = await connect()
  for (let i = 0; i < 1000; i++) socket.send("echo " + i)
  for (let i = 0; i < 1000; i++) assert.equal(await next(socket), "echo " + i)
  socket.send("many 1000")
  for (let i = 0; i < 1000; i++) assert.equal(await next(socket), "message " + i)
  const big = Buffer.alloc(5000000, "0123456789abc")
  socket.send(big)
  assert((await next(socket)).equals(big))
  socket.ping("hello?")
  assert.equal((await once(socket, "pong"))[0].toString(), "hello?")
  socket.send("ping")
  assert.equal(await next(socket), "ponged there?")
  socket.send("close 4002")
  const [code, reason] = await once(socket, "close")
  assert.equal(code + " " + reason, "4002 as asked")
  const other = await connect()
  other.close(4001, "bye")
  assert.equal((await once(other, "close"))[0], 4001)
  const lost = await connect()
  lost.terminate()
  console.log("done")
}
main()
"""


def test_websockets(services, proxy, engine):
    behind = services.node(WS_SERVER)
    server = proxy(behind.target)
    assert node(WS_CLIENT, f"ws://127.0.0.1:{server.port}/") == "done\n"
    closed = [line for line in behind.log().splitlines() if line.startswith("closed ")]  # node may have warned
    assert closed[:2] == ["closed 4002 as asked", "closed 4001 bye"], closed
