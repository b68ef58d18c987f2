-- req:forward: what Lua checks of a call, hands to C, and makes of what C gives.

local engine = require("support.engine")
local forwards = require("support.engine_http_forwards")
local raises = require("support.raises")
local http = require("zerg.http")
local zerg = require("zerg")

-- Runs a handler as a task, which may park.
local function handle(handler, sent)
  local request = engine.request(sent or {})
  return engine.run(http.serve, handler, nil, request.pointer, request.generation), request
end

local function forward(opts, sent)
  return handle(function(req)
    req:forward("app", opts)
  end, sent)
end

local DONE = { status = 200, server = "10.0.0.1:80", bytes_up = 1, bytes_down = 2, duration = 1.5 }

describe("req:forward", function()
  before_each(forwards.reset)

  local function results_of(opts, outcome, sent)
    local results
    local task = handle(function(req)
      results = { req:forward("app", opts) }
    end, sent)
    assert.is_nil(task.ended)
    forwards.finish(outcome)
    assert.is_true(task.ended)
    return results
  end

  it("parks until the end and says how it went", function()
    assert.same({ DONE }, results_of(nil, DONE))
  end)

  it("says why an answer was cut short", function()
    local result = results_of(nil, { status = 200, server = "a:1", bytes_up = 0, bytes_down = 7,
      duration = 0, reason = "reset" })[1]
    assert.same({ 200, "a:1", 7, "reset" },
      { result.status, result.server, result.bytes_down, result.reason })
  end)

  it("gives nil and a reason when there is no answer", function()
    local results = results_of(nil, "dns: no such host")
    assert.same({ nil, "dns: no such host" }, { results[1], results[2] })
  end)

  it("gives what C knows at once", function()
    for rc, reason in pairs({ END = "refused", NO_MEMORY = "limit: out of memory",
      BROKEN = "body: a part of it was read or sent before" }) do
      forwards.reset()
      forwards.begins_with, forwards.reason = forwards.results[rc], "refused"
      local results
      local task = handle(function(req)
        results = { req:forward("app") }
      end)
      assert.is_true(task.ended)
      assert.same({ nil, reason }, { results[1], results[2] })
    end
  end)

  it("is woken for nothing and parks again", function()
    local task = forward()
    forwards.wake()
    assert.is_nil(task.ended)
    forwards.finish(DONE)
    assert.is_true(task.ended)
  end)

  it("hands its options to C", function()
    forward({ path = "/a?b", method = "PUT", body = "a\0b", connect_timeout = 1, read_timeout = 2.5,
      retries = 3, hash_key = "k\0", headers = { B = "1", A = 2, C = false },
      response_headers = { Server = false, ["X-Y"] = 1.5 }, on_response = function() end })
    assert.same({
      target = "app", path = "/a?b", method = "PUT", body = "a\0b", connect_s = 1, read_s = 2.5,
      retries = 3, hash_key = "k\0", wants_head = 1,
      fields = { { "A", "2" }, { "B", "1" }, { "C" } },
      answer_fields = { { "Server" }, { "X-Y", "1.5" } },
    }, forwards.options())
  end)

  it("leaves to C what is not said", function()
    forward()
    assert.same({ target = "app", connect_s = -1, read_s = -1, retries = -1, wants_head = 0,
      fields = {}, answer_fields = {} }, forwards.options())
    forwards.finish(DONE)
    forward({ body = "", path = "/", connect_timeout = 0, retries = 0, headers = {} })
    assert.same({ target = "app", connect_s = 0, read_s = -1, retries = 0, wants_head = 0,
      body = "", path = "/", fields = {}, answer_fields = {} }, forwards.options())
  end)

  it("sends the body that was read before, unless there is another", function()
    for _, case in ipairs({ { nil, "abcd" }, { { body = "x" }, "x" } }) do
      handle(function(req)
        assert.equal("abcd", req:body())
        req:forward("app", case[1])
      end, { pieces = { "ab", "cd" } })
      assert.equal(case[2], forwards.options().body)
      forwards.finish(DONE)
    end
    handle(function(req)
      assert.equal("", req:body())
      req:forward("app")
    end)
    assert.equal("", forwards.options().body)
  end)

  it("keeps what C points to as long as the call", function()
    local values = setmetatable({}, { __mode = "k" })
    local task = handle(function(req)
      local headers = { A = ("x"):rep(10) .. tostring(req.ctx) }
      values[headers] = true
      req:forward("app", { headers = headers })
    end)
    local before = forwards.options().fields
    collectgarbage()
    collectgarbage()
    for index = 1, 1000 do
      values.scratch = ("y"):rep(10) .. index
    end
    assert.same(before, forwards.options().fields)
    forwards.finish(DONE)
    assert.is_true(task.ended)
  end)

  it("drops what is under way when its task is cancelled", function()
    local results
    local task = handle(function(req)
      results = { zerg.deadline(1, req.forward, req, "app") }
    end)
    engine.advance(1)
    assert.same({ nil, "timeout" }, { results[1], results[2] })
    assert.equal(1, task.dropped)
  end)

  it("raises misuse at the script's line", function()
    for _, case in ipairs({
      { "expected the name of an upstream, .* got nil", nil },
      { 'expected the name of an upstream, .* got "nowhere"', "nowhere" },
      { "expected a table of options, got number", "app", 7 },
      { "unknown option 'x'", "app", { x = 1 } },
      { "unknown option '1'", "app", { "x" } },
      { "path: expected a path", "app", { path = "" } },
      { "path: expected a path", "app", { path = "a" } },
      { "path: expected a path", "app", { path = "/\r" } },
      { "path: expected a path", "app", { path = "/a b" } },
      { "path: expected a path", "app", { path = "/a\"" } },
      { "path: expected a path", "app", { path = "/a<" } },
      { "path: expected a path", "app", { path = "/a>" } },
      { "path: expected a path", "app", { path = "/a#" } },
      { "path: expected a path", "app", { path = "/\127" } },
      { "path: expected a path", "app", { path = "/\200" } },
      { "path: expected a path", "app", { path = "/" .. ("a"):rep(16384) } },
      { "method: expected a method", "app", { method = "GET " } },
      { "method: expected a method", "app", { method = ("A"):rep(33) } },
      { "method: GET cannot be exchanged for CONNECT", "app", { method = "CONNECT" } },
      { "method: GET cannot be exchanged for HEAD", "app", { method = "HEAD" } },
      { "body: expected a string", "app", { body = 1 } },
      { "headers: expected a table", "app", { headers = "" } },
      { "headers: expected names, got number", "app", { headers = { "x" } } },
      { "headers: A: expected a string, or false to remove it, got table", "app",
        { headers = { A = {} } } },
      { 'headers: "Connection" cannot be set', "app", { headers = { Connection = false } } },
      { "headers: A cannot have that value", "app", { headers = { A = "b\r\n" } } },
      { 'response_headers: "A b" cannot be set', "app", { response_headers = { ["A b"] = 1 } } },
      { "on_response: expected a function, got table", "app", { on_response = {} } },
      { "connect_timeout: expected seconds, got %-1", "app", { connect_timeout = -1 } },
      { "read_timeout: expected seconds", "app", { read_timeout = 0 / 0 } },
      { "read_timeout: expected seconds, got inf", "app", { read_timeout = math.huge } },
      { "retries: expected a count, got 0.5", "app", { retries = 0.5 } },
      { "retries: expected a count, got 512", "app", { retries = 512 } },
      { "hash_key: expected a string, got 1", "app", { hash_key = 1 } },
    }) do
      local message
      handle(function(req)
        message = select(2, pcall(function()
          req:forward(case[2], case[3])
        end))
      end)
      assert.is_truthy(message:find("^[^:]*http_forward_spec.lua:%d+: req:forward: " .. case[1]),
        message)
      assert.is_nil(forwards.options())
    end
  end)

  it("leaves HEAD what it is", function()
    local HEAD = 2
    forward({ method = "HEAD" }, { method = HEAD })
    assert.equal("HEAD", forwards.options().method)
    forwards.finish(DONE)
    local task = forward({ method = "GET" }, { method = HEAD })
    assert.is_truthy(tostring(task.failure):find("HEAD cannot be exchanged for GET"))
  end)

  it("raises what C calls misuse", function()
    for name, text in pairs({ SENT = "the answer was sent already",
      BUSY = "another coroutine is reading or forwarding this request",
      NO_TASK = "cannot wait here, only a handler or a task can" }) do
      forwards.reset()
      forwards.begins_with = forwards.results[name]
      local message
      handle(function(req)
        message = select(2, pcall(function()
          req:forward("app")
        end))
      end)
      assert.is_truthy(message:find("http_forward_spec.lua:%d+: req:forward: " .. text), message)
    end
  end)

  it("is of no use behind the handler", function()
    local kept
    local request = select(2, handle(function(req)
      kept = req
    end))
    request.http._generation = 8
    raises(function() kept:forward("app") end, "http_forward_spec.*req used after its handler")
    assert.is_nil(forwards.options())
  end)
end)

describe("on_response of req:forward", function()
  before_each(forwards.reset)

  local ANSWER = { { "Server", "x" }, { "X-B", "1" }, { "x-b", "2" } }

  it("sees the head of the answer", function()
    local seen
    local task = forward({ on_response = function(status, headers)
      seen = { status, headers.server, headers["X-b"], headers:all("x-B"), headers.none }
    end })
    assert.is_nil(seen)
    forwards.head(404, ANSWER)
    assert.same({ 404, "x", "1, 2", { "1", "2" } }, seen)
    assert.is_nil(task.ended)
    assert.same({ { n = 0 } }, forwards.went_on)
    forwards.finish(DONE)
    assert.is_true(task.ended)
  end)

  it("may have fields set in place of the others", function()
    forward({ response_headers = { A = "1" }, on_response = function()
      return { ["X-New"] = 7, Server = false }
    end })
    forwards.head(200, ANSWER)
    assert.same({ { n = 2, { "Server" }, { "X-New", "7" } } }, forwards.went_on)
    assert.same({ { "A", "1" } }, forwards.options().answer_fields)
  end)

  it("tells no fields at all from nothing said", function()
    forward({ on_response = function() return {} end })
    forwards.head(200, ANSWER)
    assert.same({ { n = 0, is_table = true } }, forwards.went_on)
  end)

  it("may park", function()
    local task = forward({ on_response = function()
      zerg.sleep(5)
    end })
    forwards.head(200, ANSWER)
    engine.advance(4)
    assert.same({}, forwards.went_on)
    engine.advance(1)
    assert.equal(1, #forwards.went_on)
    forwards.finish(DONE)
    assert.is_true(task.ended)
  end)

  it("keeps its fields as long as the call", function()
    local task = forward({ on_response = function(status)
      return { A = "value " .. status }
    end })
    forwards.head(200, ANSWER)
    collectgarbage()
    collectgarbage()
    assert.same({ { "A", "value 200" } }, forwards.answer_fields_now())
    forwards.finish(DONE)
    assert.is_true(task.ended)
  end)

  it("ends the handler when it raises, or returns what is none", function()
    for _, case in ipairs({
      { "^oops$", function() error("oops", 0) end },
      { "^[^:]*http_forward_spec.lua:%d+: req:forward: on_response: expected a table of fields "
        .. "or nil, got number$", function() return 7 end },
      { "http_forward_spec.lua:%d+: req:forward: on_response: \"Connection\" cannot be set",
        function() return { Connection = "close" } end },
      { "http_forward_spec.lua:%d+: req:forward: on_response: A cannot have that value",
        function() return { A = "b\n" } end },
    }) do
      forwards.reset()
      local task = forward({ on_response = case[2] })
      forwards.head(200, ANSWER)
      assert.is_true(task.ended)
      assert.is_truthy(tostring(task.failure):find(case[1]), tostring(task.failure))
      assert.same({}, forwards.went_on)
    end
  end)

  it("leaves nothing under way when it fails, and the error is caught", function()
    for _, on_response in ipairs({ error, function() return 7 end,
      function() return { A = "\n" } end, function() zerg.sleep(60) end }) do
      forwards.reset()
      local task = handle(function(req)
        zerg.deadline(1, pcall, req.forward, req, "app", { on_response = on_response })
      end)
      forwards.head(200, ANSWER)
      engine.advance(1)
      assert.is_true(task.ended)
      assert.equal(1, task.dropped)
      assert.is_nil(task.pending)
    end
  end)

  it("is not asked when the answer needs no look", function()
    local task = forward({ on_response = error })
    forwards.finish({ status = 101, server = "", bytes_up = 0, bytes_down = 0, duration = 0 })
    assert.is_true(task.ended)
    assert.is_nil(task.failure)
  end)
end)
