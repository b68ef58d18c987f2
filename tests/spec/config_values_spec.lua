-- Sizes, times and how values are shown.

local nearest = require "zerg.config.nearest"
local values = require "zerg.config.values"

describe("zerg.config.values", function()
  it("reads sizes as numbers or with a unit", function()
    assert.equal(4096, values.size(4096))
    assert.equal(4096, values.size("4096"))
    assert.equal(65536, values.size("64k"))
    assert.equal(65536, values.size(" 64 K "))
    assert.equal(1572864, values.size("1.5m"))
    assert.equal(2 ^ 30, values.size("1g"))
    assert.equal(0, values.size(0))
  end)

  it("refuses what is no size", function()
    for _,
      value in ipairs { "", "k", "64q", "64kk", "0x10", "-1k", "1.5", "1e3", true, {}, 1.5, 0 / 0,
      1 / 0 } do
      assert.is_nil(values.size(value), tostring(value))
    end
  end)

  it("reads times in seconds", function()
    assert.equal(30, values.time(30))
    assert.equal(0.25, values.time(0.25))
    assert.equal(0.5, values.time("500ms"))
    assert.equal(2, values.time("2s"))
    assert.equal(120, values.time("2m"))
    assert.equal(5400, values.time("1.5h"))
    assert.equal(86400, values.time("1d"))
    assert.equal(7, values.time("7"))
  end)

  it("refuses what is no time", function()
    for _, value in ipairs { "", "s", "5 minutes", "-1s", false, {}, 0 / 0, -1 / 0 } do
      assert.is_nil(values.time(value), tostring(value))
    end
  end)

  it("knows powers of two", function()
    for _, value in ipairs { 1, 2, 4096, 2 ^ 30 } do
      assert.is_true(values.is_power_of_two(value))
    end
    for _, value in ipairs { 0, -2, 3, 4097, 1 / 0, 0 / 0, "4" } do
      assert.is_false(values.is_power_of_two(value))
    end
  end)

  it("shows values shortly and on one line", function()
    assert.equal('"80a"', values.show("80a"))
    assert.equal('"a\\10b\\34"', values.show('a\nb"'))
    assert.equal('"' .. ("x"):rep(40) .. '..."', values.show(("x"):rep(41)))
    assert.equal("1.5", values.show(1.5))
    assert.equal("70000", values.show(70000))
    assert.equal("nil", values.show(nil))
    assert.equal("a table", values.show({}))
    assert.equal("a function", values.show(print))
  end)

  it("shows sizes and times as they would be written", function()
    assert.equal('"64k"', values.show_size(65536))
    assert.equal('"1g"', values.show_size(2 ^ 30))
    assert.equal("1000", values.show_size(1000))
    assert.equal('"7d"', values.show_time(7 * 86400))
    assert.equal('"1h"', values.show_time(3600))
    assert.equal('"1ms"', values.show_time(0.001))
    assert.equal("0", values.show_time(0))
  end)

  it("shows key paths as Lua would", function()
    assert.equal("listeners[2].port", values.show_path { "listeners", 2, "port" })
    assert.equal('upstreams["my app"]', values.show_path { "upstreams", "my app" })
    assert.equal("[1]", values.show_path { 1 })
    assert.equal("", values.show_path {})
  end)
end)

describe("zerg.config.nearest", function()
  it("counts edits, a swap as one, case as none", function()
    assert.equal(0, nearest.distance("Port", "port"))
    assert.equal(1, nearest.distance("prot", "port"))
    assert.equal(1, nearest.distance("por", "port"))
    assert.equal(1, nearest.distance("portt", "port"))
    assert.equal(3, nearest.distance("kitten", "sitting"))
    assert.equal(4, nearest.distance("", "port"))
  end)

  it("finds the nearest word, none when all are far", function()
    local words = { "port", "path", "handler", "timeouts" }
    assert.equal("handler", nearest.of("hanlder", words))
    assert.equal("timeouts", nearest.of("timeout", words))
    assert.equal("port", nearest.of("prt", words))
    assert.is_nil(nearest.of("colour", words))
    assert.is_nil(nearest.of(17, words))
    assert.is_nil(nearest.of(("x"):rep(1000), words))
  end)
end)
