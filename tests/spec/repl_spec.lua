-- What an operator types, evaluated.

require("support.engine")
local json = require("cjson")
local repl = require("zerg.repl")

local function eval(code)
  return json.decode(repl.eval(code))
end

describe("zerg.repl", function()
  it("gives the values of an expression", function()
    assert.are.same({ "2", '"x"', "nil" }, eval("1 + 1, 'x', nil").values)
  end)

  it("runs statements, in the globals", function()
    assert.are.same({}, eval("repl_spec_value = 7").values)
    assert.are.equal(7, rawget(_G, "repl_spec_value"))
    assert.are.same({ "7" }, eval("repl_spec_value").values)
    rawset(_G, "repl_spec_value", nil)
  end)

  it("shows tables in order, and not without end", function()
    assert.are.same({ "{ 1, 2, a = true, b = {} }" }, eval("{ 1, 2, b = {}, a = true }").values)
    assert.are.same({ '{ [3] = "x", ["a b"] = 1 }' }, eval("{ [3] = 'x', ['a b'] = 1 }").values)
    assert.are.same({ "{ { { { ... } } } }" }, eval("{ { { { { 1 } } } } }").values)
    local many = "(function() local t = {} for i = 1, 99 do t[i] = i end return t end)()"
    assert.matches("20, %.%.%. }$", eval(many).values[1])
  end)

  it("keeps what is printed", function()
    assert.are.equal("a\t1\nb\n", eval("print('a', 1) print('b')").output)
  end)

  it("gives an error with its traceback, and what was printed before", function()
    local reply = eval("print('x') error('no')")
    assert.are.equal("x\n", reply.output)
    assert.matches("^repl:1: no\nstack traceback:", reply.error)
  end)

  it("says what is wrong with code that cannot be compiled", function()
    assert.matches("'<eof>'", eval("for i = 1, 2 do").error)
    assert.matches("unexpected symbol", eval(")").error)
  end)

  it("cannot park", function()
    assert.is_string(eval("require('zerg').sleep(1)").error)
  end)
end)
