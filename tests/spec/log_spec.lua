-- The log, and print.

local engine = require("support.engine")
local raises = require("support.raises")
local zerg = require("zerg")
local log = require("zerg.log")

describe("zerg.log", function()
  before_each(function()
    engine.log_level = 0
    engine.forget_log()
  end)

  it("formats only with arguments", function()
    log.info("100%")
    log.warn("%d of %s", 5, "ten")
    log.error({ 1 } and "x\0y")
    log.debug(nil)
    assert.same({ "100%", "5 of ten", "x\0y", "nil" }, engine.forget_log())
  end)

  it("says its level", function()
    for index, name in ipairs({ "debug", "info", "warn", "error" }) do
      log[name]("x")
      assert.equal(index - 1, engine.lines[index].level)
    end
  end)

  it("does nothing for a level that is off", function()
    engine.log_level = 2
    log.info("%s", setmetatable({}, { __tostring = function() error("formatted") end }))
    log.print("x")
    assert.same({}, engine.forget_log())
  end)

  it("names the caller of a bad format", function()
    raises(function()
      log.info("%d", "x")
    end, "log_spec.lua:%d+: zerg.log.info: bad argument")
  end)

  it("is print", function()
    log.print("a", nil, 5, true)
    log.print()
    assert.same({ "a\tnil\t5\ttrue", "" }, engine.forget_log())
    assert.equal(log, zerg.log)
  end)
end)
