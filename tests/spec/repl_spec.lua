-- What an operator types, evaluated.

local engine = require("support.engine")
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
    assert.is_nil(eval("repl_spec_value = 7").values)
    assert.are.equal(7, rawget(_G, "repl_spec_value"))
    assert.are.same({ "7" }, eval("repl_spec_value").values)
    rawset(_G, "repl_spec_value", nil)
  end)

  it("knows zerg, which is no global of scripts for that", function()
    assert.are.same({ "true" }, eval("zerg == require('zerg')").values)
    assert.is_nil(rawget(_G, "zerg"))
    assert.are.same({ "nil" }, eval("_G.zerg").values)
    rawset(_G, "zerg", 5)
    assert.are.same({ "5" }, eval("zerg").values)
    eval("zerg = 6")
    assert.are.equal(6, rawget(_G, "zerg"))
    rawset(_G, "zerg", nil)
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

  it("logs what is printed later", function()
    eval("print('now') function repl_spec_late() print('late', 1) end")
    engine.forget_log()
    _G.repl_spec_late()
    assert.are.same({ { level = 1, text = "late\t1" } }, engine.lines)
    rawset(_G, "repl_spec_late", nil)
  end)

  it("gives an error with its traceback, and what was printed before", function()
    local reply = eval("print('x') error('no')")
    assert.are.equal("x\n", reply.output)
    assert.matches("^repl:1: no\nstack traceback:", reply.error)
  end)

  it("gives an error of any type as text", function()
    assert.matches("^nil\nstack traceback:", eval("error()").error)
    assert.matches("^table: 0x", eval("error({ code = 5 })").error)
    assert.matches("^table\n", eval("error(setmetatable({}, { __tostring = error }))").error)
  end)

  it("fails with a value that cannot be shown", function()
    local raising = "setmetatable({}, { __tostring = function() error('no') end })"
    assert.matches("repl:1: no", eval(raising).error)
    assert.are.same({ "table" }, eval("setmetatable({}, { __tostring = function() return {} end })")
      .values)
  end)

  it("writes bytes that are no text as Lua does", function()
    local function shown(text)
      return eval(("%q"):format(text)).values[1]
    end
    for _, text in ipairs({ "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x99", "\xf4\x8f\xbf\xbf" }) do
      assert.are.equal('"' .. text .. '"', shown(text))
    end
    assert.are.equal([["\255a\195"]], shown("\xffa\xc3"))
    assert.are.equal([["\192\128"]], shown("\xc0\x80"))
    assert.are.equal([["\224\128\128"]], shown("\xe0\x80\x80"))
    assert.are.equal([["\237\160\128"]], shown("\xed\xa0\x80"))
    assert.are.equal([["\244\144\128\128"]], shown("\xf4\x90\x80\x80"))
    assert.are.equal("a\\0\\128\n", eval([[print("a\0\128")]]).output)
    assert.matches("^a\\0\\128\n", eval([[error("a\0\128", 0)]]).error)
  end)

  it("says what is wrong with code that cannot be compiled", function()
    assert.matches("'<eof>'", eval("for i = 1, 2 do").error)
    assert.matches("unexpected symbol", eval(")").error)
    assert.matches("near '<eof>'$", eval("{ 1,").error)
    assert.matches("near '<eof>'$", eval("1 +").error)
    assert.matches("near 'y'$", eval("x y").error)
  end)

  it("says of code whether it only ends too early", function()
    for _, code in ipairs({ "for i = 1, 2 do", "{ 1,", "1 +", "x =", "f(", "if x then" }) do
      assert.is_true(eval(code).unfinished, code)
    end
    for _, code in ipairs({ "", ")", "x y", "end", "1", "error([[near '<eof>']])",
      "assert(load('x ='))", [[5 "near '<eof>'"]] }) do
      assert.is_nil(eval(code).unfinished, code)
    end
  end)

  it("limits the time of the code alone, which is interpreted", function()
    local function evaluating()
      return engine.is_evaluating
    end
    rawset(_G, "repl_spec_evaluating", evaluating)
    assert.are.same({ "true", "false" },
      eval("repl_spec_evaluating(), (jit.status())").values)
    assert.is_false(engine.is_evaluating)
    assert.is_true(jit.status())
    eval("error('no')")
    assert.is_false(engine.is_evaluating)
    assert.is_true(jit.status())
    rawset(_G, "repl_spec_evaluating", nil)
  end)

  it("leaves the compiler off when it was", function()
    jit.off()
    eval("1")
    assert.is_false(jit.status())
    jit.on()
  end)

  it("cannot park", function()
    assert.is_string(eval("require('zerg').sleep(1)").error)
  end)
end)
