"""Clients of HTTP that others wrote, each run to its end: its own account of what it did is checked, and returned."""

import os
import re

from services import run

NODE_MODULES = "/usr/share/nodejs"  # where Debian has them, which another node than Debian's does not know


def curl(*args, **kwargs):
    """What it printed. A time-out of its own makes it say what it waits for."""
    return run("curl", "-sS", "--max-time", "40", *args, **kwargs).decode("latin-1")


def wrk(url, *args, seconds=1, connections=16):
    """How many requests were answered."""
    said = run("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *args, url).decode()
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    return int(re.search(r"(\d+) requests in", said)[1])


def ab(url, *args, count=2000, connections=16):
    said = run("ab", "-q", "-n", count, "-c", connections, *args, url).decode()
    assert re.search(rf"^Complete requests: +{count}$", said, re.M), said
    assert re.search(r"^Failed requests: +0$", said, re.M) and "Non-2xx" not in said, said
    return said


def h2load(url, *args, count=2000, connections=8, pipelined=8):
    said = run("h2load", "--h1", "-n", count, "-c", connections, "-m", pipelined, *args, url).decode()
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert f"status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx" in said, said
    return said


def node(script, *args, **kwargs):
    """What a script prints that fails by an exception."""
    env = {**os.environ, "NODE_PATH": NODE_MODULES}
    return run("node", "--unhandled-rejections=strict", "-e", script, "--", *args, env=env, **kwargs).decode()


# ---- scripts for node, which get the address of a server with the handler of httptalk.py ----

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
