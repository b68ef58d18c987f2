-- req and res: what a handler sees of a request, and what becomes of what it does.

local engine = require("support.engine")
local raises = require("support.raises")
local http = require("zerg.http")

describe("zerg.http", function()
  local function serve(request, handler, connect)
    return engine.call(http.serve, handler, connect, request.pointer, request.generation)
  end

  local function answer_to(sent, handler)
    local request = engine.request(sent)
    serve(request, handler)
    return request.answer, request
  end

  it("sends what is returned, and leaves silence to C", function()
    local answer, request = answer_to({}, function()
      return "text"
    end)
    assert.same({ 200, "text", true }, { answer.status, answer.body, request.returned })
    answer, request = answer_to({}, function() end)
    assert.same({ nil, true }, { answer.body, request.returned })
  end)

  it("raises for a second body and for one that falls short", function()
    raises(function()
      answer_to({}, function(_, res)
        res:send("once")
        return "twice"
      end)
    end, "had answered already")
    local request = engine.request({})
    request.falls_short = true
    raises(function()
      serve(request, function(_, res)
        res:write("abc")
      end)
    end, "less than its Content%-Length")
  end)

  it("shows the head", function()
    answer_to({ target = "/a%20b?x=1&y=2+3&x=4", path = "/a b", query = "x=1&y=2+3&x=4",
      host = "example", minor = 0, headers = { { "X-A", "1" }, { "Cookie", "a" }, { "x-a", "2" },
        { "cookie", "b" } } }, function(req)
      assert.same({ "GET", "/a%20b?x=1&y=2+3&x=4", "/a b", "x=1&y=2+3&x=4" },
        { req.method, req.target, req.path, req.query_string })
      assert.same({ "example", "http", "1.0" }, { req.host, req.scheme, req.version })
      assert.same({ x = { "1", "4" }, y = "2 3" }, req.query)
      assert.equal(req.query, req.query)
      assert.equal("1, 2", req.headers["x-A"])
      assert.equal("a; b", req.headers.COOKIE)
      assert.is_nil(req.headers.missing)
      assert.same({ "1", "2" }, req.headers:all("X-a"))
      local names = {}
      for name, value in pairs(req.headers) do
        names[#names + 1] = name .. value
      end
      assert.same({ "x-a1", "cookiea", "x-a2", "cookieb" }, names)
    end)
    answer_to({ method = 0, method_text = "BREW" }, function(req)
      assert.equal("BREW", req.method)
      assert.same({}, req.query)
    end)
  end)

  it("keeps what is the script's in ctx alone", function()
    answer_to({}, function(req, res)
      req.ctx.a = 1
      assert.equal(1, req.ctx.a)
      req.ctx = { b = 2 }
      assert.equal(2, req.ctx.b)
      raises(function() req.path = "/" end, "req.path cannot be set")
      raises(function() return req.nothing end, "req has no field 'nothing'")
      raises(function() return res.nothing end, "res has no field 'nothing'")
      raises(function() req.headers.a = 1 end, "cannot be changed")
    end)
  end)

  it("collects bodies, and gives them again", function()
    answer_to({ pieces = { "ab", "cd", "e" } }, function(req)
      assert.equal("abcde", req:body())
      assert.equal("abcde", req:body())
    end)
    answer_to({}, function(req)
      assert.equal("", req:body())
    end)
    answer_to({ pieces = { "ab", "cd" } }, function(req)
      assert.same({ nil, "limit" }, { req:body(3) })
      assert.equal("limit", req.reason)
      raises(function() req:body("3") end, "req:body: expected a count of bytes")
    end)
  end)

  it("waits for what has not come", function()
    local request = engine.request({ pieces = { "ab" }, ends = false })
    local task = engine.run(http.serve, function(req)
      req:body()
    end, nil, request.pointer, request.generation)
    assert.is_falsy(task.ended)
  end)

  it("iterates over pieces", function()
    answer_to({ pieces = { "ab", "cd" } }, function(req)
      local seen = {}
      for view in req:chunks() do
        seen[#seen + 1] = tostring(view)
      end
      assert.same({ "ab", "cd" }, seen)
      assert.is_nil(req.reason)
    end)
  end)

  it("decodes JSON and forms", function()
    answer_to({ pieces = { '{"a":', "1}" } }, function(req)
      assert.same({ a = 1 }, req:json())
    end)
    answer_to({ pieces = { "{" } }, function(req)
      local value, reason = req:json()
      assert.is_nil(value)
      assert.is_truthy(reason:find("^json: "))
    end)
    answer_to({ pieces = { "a=1+2&b" }, content_type = "Application/X-WWW-form-urlencoded;x=y" },
      function(req)
        assert.same({ a = "1 2", b = "" }, req:form())
      end)
    answer_to({ pieces = { "a=1" } }, function(req)
      assert.same({ nil, "form: the body is of type unknown" }, { req:form() })
    end)
  end)

  it("sets status and headers", function()
    local answer = answer_to({}, function(_, res)
      assert.is_false(res.sent)
      assert.is_true(res:status(201):header("A", "1"):header("A", 2):header({ B = { "x", "y" } })
        :header("C", "1"):header("C", false):send(12))
      assert.is_true(res.sent)
    end)
    assert.same({ A = { "2" }, B = { "x", "y" } }, answer.fields)
    assert.same({ 201, "12" }, { answer.status, answer.body })
  end)

  it("raises for what no answer can have, at the line of the script", function()
    answer_to({}, function(_, res)
      raises(function() res:header("A b", "1") end, "http_spec.*res:header: \"A b\" cannot be set")
      raises(function() res:header("A", "1\r\nB: 2") end, "http_spec.*A cannot have that value")
      raises(function() res:header({ A = true }) end, "http_spec.*expected a string, got boolean")
      raises(function() res:header(1, "x") end, "http_spec.*expected a name, got number")
      raises(function() res:status(99) end, "res:status: expected a status")
      raises(function() res:send({}) end, "res:send: expected a string")
      raises(function() res:write() end, "res:write: expected a string")
      raises(function() res:redirect(1) end, "res:redirect: expected a URL")
      res:send()
      raises(function() res:send() end, "http_spec.*res:send: the answer was sent already")
      raises(function() res:status(200) end, "http_spec.*res:status: the answer was sent already")
      raises(function() res:header("A", "b") end, "http_spec.*res:header: the answer was sent")
      raises(function() res:write("x") end, "http_spec.*res:write: the answer was sent already")
    end)
  end)

  it("streams, and says when the client has gone", function()
    local answer = answer_to({}, function(_, res)
      assert.equal(res, res:write("a"):write(1))
      assert.is_true(res:finish())
    end)
    assert.same({ "a", "1" }, answer.parts)
    local request = engine.request({})
    request.gone, request.failure = true, "reset"
    serve(request, function(_, res)
      assert.same({ nil, "reset" }, { res:write("a") })
      assert.same({ nil, "reset" }, { res:send("a") })
    end)
  end)

  it("sends JSON and redirects", function()
    local answer = answer_to({}, function(_, res)
      res:json({ a = 1 })
    end)
    assert.same({ '{"a":1}', true }, { answer.body, answer.is_json })
    answer = answer_to({}, function(_, res)
      res:redirect("/there", 308)
    end)
    assert.same({ 308, "" }, { answer.status, answer.body })
    assert.same({ Location = { "/there" } }, answer.fields)
  end)

  it("lets nobody use a request that has ended", function()
    local kept
    local _, request = answer_to({}, function(req, res)
      kept = { req, res, req.headers }
    end)
    request.http._generation = 8
    raises(function() return kept[1].path end, "http_spec.*req used after its handler has ended")
    raises(function() kept[1]:body() end, "http_spec.*req used after")
    raises(function() kept[2]:send("x") end, "http_spec.*res used after")
    raises(function() return kept[3].a end, "http_spec.*headers used after")
    assert.equal("zerg.req: ended", tostring(kept[1]))
  end)
end)
