"""The HTTP server and clients that others wrote: curl, wrk, ab, h2load and node. They keep connections, pipeline,
stream, and say HTTP/1.0."""

import pytest

from peer import pattern
from webclients import ab, curl, h2load, node, wrk

LIMIT = 100_000


@pytest.fixture
def site(web):
    """Starts a server of HTTP and gives its address."""

    def start(body_bytes=LIMIT):
        server = web(limits={"body_bytes": body_bytes}).wait_ready()
        return f"http://127.0.0.1:{server.port}"
    return start


# ---- curl ----


def test_curl_of_http_1_0_is_told_the_end_by_the_end(site, engine):
    url = site()
    for path, body, length in (("/hello", "hello\n", True), ("/stream", "one,two,three", False)):
        head, got = curl("--http1.0", "-i", url + path).split("\r\n\r\n", 1)
        assert head.startswith("HTTP/1.1 200 OK\r\n") and "\r\nConnection: close" in head
        assert got == body and "Transfer-Encoding" not in head and ("Content-Length" in head) == length


def test_curl_uploads_what_has_no_length(site, engine):
    data = pattern(3_000_000)
    got = curl("-T", "-", site(body_bytes="4m") + "/body", input=data)
    assert got == data.decode("latin-1")


def test_curl_waits_for_100_before_it_sends_a_body(site, engine):
    """It would wait longer than it may run, so that it was told to go on when it is content."""
    got = curl("-v", "--expect100-timeout", "60", "-H", "Expect: 100-continue", "--data-binary", "abc", "--stderr", "-",
               site() + "/body")
    assert got.count("< HTTP/1.1 100 Continue") == 1 and got.count("< HTTP/1.1 200 OK") == 1 and "\nabc" in got


def test_curl_asks_for_a_head_and_goes_on(site):
    url = site()
    got = curl("-I", url + "/hello", "--next", "-sS", "-w", "%{num_connects}", url + "/hello")
    assert got.startswith("HTTP/1.1 200 OK\r\n") and "\r\nContent-Length: 6\r\n" in got
    assert got.endswith("\r\n\r\nhello\n0")


def test_curl_uses_one_connection_for_all(site, engine):
    url = site()
    paths = ["/hello", "/stream", "/missing", "/nothing", "/no_content", "/large?n=100000", "/hello"]
    words = [word for path in paths for word in ("-o", "/dev/null", url + path)]
    assert curl("-w", "%{http_code} %{num_connects}\n", *words).split("\n") == [
        "200 1", "200 0", "404 0", "200 0", "204 0", "200 0", "200 0", ""]


@pytest.mark.parametrize("size", [LIMIT, 3_000_000], ids=["in_one_go", "behind_100"])
def test_curl_sends_a_body_up_to_the_limit_and_no_further(site, tmp_path, engine, size):
    url = site(body_bytes=size) + "/chunks"
    for more, status, body in ((0, 200, f"{size} nil"), (1, 413, "413 Content Too Large\n")):
        (tmp_path / "body").write_bytes(pattern(size + more))
        for args in ([], ["-H", "Expect:"]):
            got = curl("-w", " %{http_code}", "--data-binary", f"@{tmp_path}/body", *args, url)
            assert got == f"{body} {status}", (more, args)


# ---- those that measure ----


def test_wrk_sees_no_error(site):
    assert wrk(site() + "/hello", seconds=2) > 100


def test_wrk_pipelines(site, tmp_path, quick_engine):
    script = tmp_path / "pipelined.lua"
    script.write_text("""
        local text
        function init() text = (wrk.format("GET", "/hello") .. wrk.format("POST", "/body", nil, "abc")):rep(16) end
        function request() return text end
    """)
    assert wrk(site() + "/hello", "-s", script) > 100


def test_ab_sees_no_error_whether_connections_are_kept_or_not(site, engine, tmp_path):
    url = site()
    assert "Keep-Alive requests" not in ab(url + "/hello", count=500)
    assert "Keep-Alive requests:    2000" in ab(url + "/hello", "-k")
    (tmp_path / "body").write_bytes(pattern(5000))
    ab(url + "/body", "-k", "-p", tmp_path / "body", "-T", "text/plain", count=500)
    ab(url + "/stream", count=100)


def test_h2load_pipelines(site, engine):
    url = site()
    h2load(url + "/hello")
    h2load(url + "/stream", count=200, connections=4)
    h2load(url + "/large?n=20000", count=500, pipelined=32)


# ---- node ----

NODE = """
const http = require("http"), assert = require("assert")
const url = process.argv[1]
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })

function request(path, options, body) {
  return new Promise((resolve, reject) => {
    const req = http.request(url + path, { agent, ...options }, (res) => {
      const parts = []
      res.on("data", (part) => parts.push(part))
      res.on("end", () => resolve({ res, reused: req.reusedSocket, body: Buffer.concat(parts) }))
      res.on("error", reject)
    })
    req.on("error", reject)
    req.end(body)
  })
}
"""

NODE_AGENT = NODE + """
async function main() {
  const size = 90000
  for (let i = 0; i < 100; i++) {
    const { res, reused, body } = await request("/body", { method: "POST" }, Buffer.alloc(i * size / 100, i))
    assert.equal(res.statusCode, 200)
    assert.equal(reused, i > 0)
    assert(body.equals(Buffer.alloc(i * size / 100, i)))
  }
  const head = await request("/hello", { method: "HEAD" })
  assert.equal(head.res.headers["content-length"], "6")
  assert.equal(head.body.length, 0)
  const last = await request("/hello", {})
  assert(last.reused && last.body.equals(Buffer.from("hello\\n")))
  agent.destroy()
}
main()
"""

NODE_STREAM = NODE + """
// Each piece is sent when the one before has come back.
const req = http.request(url + "/mirror", { agent, method: "POST" }, (res) => {
  let count = 0
  res.on("data", (data) => {
    assert.equal(data.toString(), "piece " + count)
    count++ < 100 ? req.write("piece " + count) : req.end()
  })
  res.on("end", () => { console.log(count); agent.destroy() })
})
req.write("piece 0")
"""

NODE_FETCH = """
const assert = require("assert")
const url = process.argv[1]

async function* pieces() {
  for (let i = 0; i < 200; i++) yield new Uint8Array(10000).fill(i)
}

async function main() {
  for (let i = 0; i < 20; i++)
    assert.equal(await (await fetch(url + "/hello")).text(), "hello\\n")
  assert.deepEqual(await (await fetch(url + "/json", { method: "POST", body: '{"a":1}' })).json(), { value: { a: 1 } })
  const res = await fetch(url + "/mirror", { method: "POST", body: ReadableStream.from ? ReadableStream.from(pieces())
    : new ReadableStream({ async start(to) { for await (const piece of pieces()) to.enqueue(piece); to.close() } }),
    duplex: "half" })
  let at = 0
  for await (const part of res.body)
    for (const byte of part) assert.equal(byte, Math.floor(at++ / 10000) % 256)
  console.log(at)
}
main()
"""


def test_node_keeps_one_connection(site, engine):
    node(NODE_AGENT, site())


def test_node_streams_both_ways(site, engine):
    assert node(NODE_STREAM, site()) == "101\n"


def test_node_fetches(site, quick_engine):
    assert node(NODE_FETCH, site(body_bytes="2m")) == "2000000\n"
