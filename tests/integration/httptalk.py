"""HTTP as the tests of the server speak it: the handler they have in common, and a client that reads answers as strictly as
one must that goes on with the connection."""

import json
import re
import textwrap

from peer import until

HANDLER = r"""
local zerg = require "zerg"
local log = zerg.log

local routes = {}

routes["/hello"] = function(_, res) return res:send("hello\n") end
routes["/string"] = function() return "a string" end
routes["/nothing"] = function() end
routes["/raise"] = function() error("secret of the house") end
routes["/raise_later"] = function(_, res) res:write("begun") error("secret of the house") end
routes["/answer_then_raise"] = function(_, res) res:send("done") error("afterwards") end
routes["/slow"] = function(_, res) zerg.sleep(0.05) res:send("slow\n") end
routes["/announced"] = function(_, res) log.info("answering") zerg.sleep(0.2) res:send("slow\n") end
routes["/no_content"] = function(_, res) res:status(204):send("this must not be sent") end
routes["/not_modified"] = function(_, res) res:status(304):header("ETag", '"x"'):send() end
routes["/stream"] = function(_, res)
  res:write("one,")
  zerg.sleep(0.01)
  res:write("two,"):write("")
  res:write("three")
end
routes["/stream_length"] = function(_, res)
  res:header("Content-Length", 6)
  res:write("abc")
  res:write("def")
  res:finish()
end
routes["/too_little"] = function(_, res) res:header("Content-Length", 6) res:write("abc") end
routes["/large"] = function(req, res) res:send(("x"):rep(tonumber(req.query.n))) end
routes["/close"] = function(_, res) res:header("Connection", "close"):send("bye") end
routes["/body"] = function(req, res)
  local body, reason = req:body(tonumber(req.query.max))
  if req.query.say then
    return res:send(tostring(body and #body) .. " " .. tostring(reason))
  elseif body then
    res:send(body)
  end
end
routes["/body_late"] = function(req, res) zerg.sleep(0.05) res:send(req:body() or "none") end
routes["/chunks"] = function(req, res)
  local total = 0
  for view in req:chunks() do total = total + #view end
  res:send(total .. " " .. tostring(req.reason))
end
routes["/mirror"] = function(req, res)
  for view in req:chunks() do res:write(view) end
end
routes["/ignore"] = function(_, res) res:send("ignored") end
routes["/json"] = function(req, res)
  local value, reason = req:json()
  res:status(value and 200 or 400):json({ value = value, reason = reason })
end
routes["/form"] = function(req, res)
  local form, reason = req:form()
  res:json({ form = form, reason = reason })
end
routes["/redirect"] = function(_, res) res:redirect("/hello", 303) end
routes["/fields"] = function(_, res)
  res:header("X-A", "1"):header("x-a", "2")
  res:header({ ["X-B"] = { "1", "2" }, ["X-C"] = 3 })
  res:header("X-Gone", "1"):header("X-Gone", false)
  res:header("Date", "never"):header("Content-Type", "text/html"):send("<p>")
end
routes["/refused_fields"] = function(_, res)
  local out = {}
  for _, field in ipairs({ { "A", "b\r\nSet-Cookie: x" }, { "A\r\nB", "c" }, { "A", "b\0" }, { "A b", "c" }, { "", "c" },
    { "A", "b\nc" }, { "Transfer-Encoding", "chunked" }, { "Content-Length", "-1" }, { "Content-Length", "1x" },
    { "Connection", "upgrade" }, { "A", {} , true }, { 7, "b" }, { "A", true } }) do
    out[#out + 1] = pcall(res.header, res, field[1], field[2]) and "set" or "refused"
  end
  out[#out + 1] = pcall(res.redirect, res, "/a\r\nX: y") and "set" or "refused"
  res:send(table.concat(out, " "))
end
routes["/twice"] = function(_, res)
  res:send("once")
  local _, first = pcall(res.send, res, "twice")
  local _, second = pcall(res.status, res, 404)
  local _, third = pcall(res.write, res, "x")
  log.info("misuse: %s; %s; %s; %s", first, second, third, tostring(res.sent))
end
routes["/about"] = function(req, res)
  req.ctx.seen = (req.ctx.seen or 0) + 1
  local names = {}
  for name, value in pairs(req.headers) do names[#names + 1] = name .. "=" .. value end
  res:json({ method = req.method, target = req.target, path = req.path, query_string = req.query_string,
    query = req.query, version = req.version, host = req.host, scheme = req.scheme, remote = req.remote_addr,
    id = req.conn.id, seen = req.ctx.seen, names = names, tag = req.headers["X-TAG"],
    all = req.headers:all("x-tag"), missing = req.headers.missing })
end
routes["/keep"] = function(req, res)
  zerg.kept = { req, res, req.headers }
  res:send("kept")
end
routes["/use_kept"] = function(_, res)
  local out = {}
  for _, use in ipairs({ function() return zerg.kept[1].path end, function() return zerg.kept[1]:body() end,
    function() return zerg.kept[2]:send("x") end, function() return zerg.kept[3].host end }) do
    local ok, message = pcall(use)
    out[#out + 1] = ok and "used" or tostring(message):match("used after.*")
  end
  res:send(table.concat(out, ","))
end
routes["/raw"] = function(req, res)
  local _, written = pcall(req.conn.write, req.conn, "x")
  local _, read = pcall(req.conn.read, req.conn)
  res:send(tostring(written) .. "\n" .. tostring(read))
end
routes["/gone"] = function(_, res)
  local text = ("x"):rep(65536)
  for _ = 1, 10000 do
    local ok, reason = res:write(text)
    if not ok then
      log.info("the client has gone: %s", reason)
      return
    end
  end
end
routes["/body_of_gone"] = function(req)
  local body, reason = req:body()
  log.info("no body: %s %s", tostring(body), tostring(reason))
end
routes["/method"] = function(req, res) res:send(req.method) end

return function(req, res)
  local route = routes[req.path]
  if not route then
    return res:status(404):send("no such path: " .. req.path)
  end
  return route(req, res)
end
"""


# A handler of a few statements, from line 3 on, with zerg, req, res and say() in sight.
SAYING = """local zerg = require "zerg" local function say(result, reason) zerg.log.info("said: %s", \
zerg.json.encode({{ result = result, reason = reason }})) end {top}
return function(req, res)
{body}
end
"""


def saying(body, top=""):
    """The text of such a handler."""
    return SAYING.format(body=textwrap.dedent(body).strip("\n"), top=" ".join(top.split("\n")))


def said(server, count=1):
    """What such a handler said, that many times: pairs of a result and a reason."""
    found = until(lambda: len(found := server.log.find(r"said: ")) >= count and found,
                  f"{count} times said:\n{server.log.text()}")
    rows = [json.loads(entry.text.split("said: ", 1)[1]) for entry in found]
    return [(row.get("result"), row.get("reason")) for row in rows]


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __getitem__(self, name):
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        return values[0] if len(values) == 1 else (values or None)


def line(peer):
    out = peer.line()
    assert out.endswith("\r"), out
    return out[:-1]


def head(peer):
    status = line(peer)
    assert re.match(r"HTTP/1\.1 \d\d\d [\w' -]+$", status), status
    fields = []
    while text := line(peer):
        name, value = text.split(": ", 1)
        fields.append((name, value))
    return int(status[9:12]), fields


def chunks(peer):
    parts = []
    while size := int(line(peer), 16):
        parts.append(peer.receive(size))
        assert peer.receive(2) == b"\r\n"
    assert line(peer) == ""
    return b"".join(parts)


def answer(peer, to="GET"):
    """Reads one answer, as strictly as a client that goes on with the connection has to."""
    status, fields = head(peer)
    out = Answer(status, fields, b"")
    if to == "HEAD" or status in (204, 304) or status < 200:
        return out
    if out["Transfer-Encoding"] == "chunked":
        assert out["Content-Length"] is None
        out.body = chunks(peer)
    elif out["Content-Length"] is not None:
        out.body = peer.receive(int(out["Content-Length"]))
    else:
        assert out["Connection"] == "close"
        out.body = peer.rest()
    return out


def get(target, *lines, version="1.1", method="GET"):
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: a.example", *lines, "", ""])


def post(target, body, *lines):
    return get(target, f"Content-Length: {len(body)}", *lines, method="POST") + body


def chunked(target, *parts, trailers=""):
    body = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts) + "0\r\n" + trailers + "\r\n"
    return get(target, "Transfer-Encoding: chunked", method="POST") + body


def ask(peer, text):
    peer.send(text)
    return answer(peer, text.split(" ", 1)[0])
