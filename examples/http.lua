-- HTTP: a few notes behind a small JSON API, and a clock that streams.
--
--   zerg examples/http.lua --http --reactors 1
--   curl -d '{"text": "buy milk"}' http://127.0.0.1:8080/notes
--   curl http://127.0.0.1:8080/notes?find=milk
--   curl -N http://127.0.0.1:8080/clock
--
-- The handler is called for each request. req says what the client wants; the body is read when it
-- is asked for. res is the answer: send() and json() give all of it at once, write() a part at a
-- time. Answering parks nobody but this request: the clock ticks for thousands of clients at once.

local zerg = require("zerg")

local NOTE_BYTES_MAX = 1000
local notes = {}

local function list(req, res)
  local wanted = req.query.find
  local found = {}
  for _, note in ipairs(notes) do
    if type(wanted) ~= "string" or note.text:find(wanted, 1, true) then
      found[#found + 1] = note
    end
  end
  return res:json({ count = #found, notes = found })
end

local function add(req, res)
  local note, reason = req:json()
  if type(note) ~= "table" or type(note.text) ~= "string" then
    return res:status(400):json({ problem = reason or "expected { \"text\": \"...\" }" })
  elseif #note.text > NOTE_BYTES_MAX then
    return res:status(413):json({ problem = "a note has at most 1000 bytes" })
  end
  notes[#notes + 1] = { text = note.text, at = math.floor(zerg.time()) }
  return res:status(201):header("Location", "/notes"):json(notes[#notes])
end

-- Server-sent events: what a browser's EventSource reads. write() gives nil when the client has
-- gone.
local function clock(_, res)
  res:header({ ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-store" })
  while res:write(("data: %.0f\n\n"):format(zerg.time())) do
    zerg.sleep(1)
  end
end

local routes = {
  ["GET /notes"] = list,
  ["POST /notes"] = add,
  ["GET /clock"] = clock,
}

return function(req, res)
  local route = routes[req.method .. " " .. req.path]
  if not route then
    return res:status(404):json({ problem = "there is no " .. req.path })
  end
  return route(req, res)
end
