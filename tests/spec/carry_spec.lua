-- Plain data on its way from one version of the scripts to the next.

require("support.engine")
local carry = require("zerg.carry")
local ffi = require("ffi")

local function round_trip(...)
  local text = carry.pack(...)
  local values = carry.unpack(ffi.cast("const char *", text), #text)
  return unpack(values, 1, values.n)
end

describe("zerg.carry", function()
  it("carries strings, numbers, booleans and nil", function()
    local text, number, yes, none, no = round_trip("a\0b", 1.5, true, nil, false)
    assert.are.equal("a\0b", text)
    assert.are.equal(1.5, number)
    assert.is_true(yes)
    assert.is_nil(none)
    assert.is_false(no)
  end)

  it("keeps how many values there are, nil at the end too", function()
    assert.are.equal(3, select("#", round_trip(1, nil, nil)))
    assert.are.equal(0, select("#", round_trip()))
  end)

  it("carries tables in tables", function()
    local value = { name = "x", [1] = "one", [2.5] = { deep = { true } }, [true] = "yes" }
    assert.is_nil(carry.problem(value, "state"))
    assert.are.same(value, (round_trip(value)))
  end)

  it("carries a table that stands in two places", function()
    local shared = { 1 }
    assert.is_nil(carry.problem({ a = shared, b = shared }, "state"))
  end)

  it("says where there is what cannot be carried", function()
    local function problem(value)
      return carry.problem(value, "state")
    end
    assert.are.equal("state is a function", problem(print))
    assert.are.equal("state.users[3] is a function", problem({ users = { 1, 2, print } }))
    assert.are.equal('state["a b"] is a thread', problem({ ["a b"] = coroutine.create(print) }))
    assert.are.equal("state.n is a cdata", problem({ n = 1LL }))
    assert.are.equal("state.x is a table with a metatable", problem({ x = setmetatable({}, {}) }))
    assert.are.equal("state has a table as a key", problem({ [{}] = 1 }))
  end)

  it("refuses a table that is part of itself", function()
    local value = { name = "x" }
    value.again = { value }
    assert.are.equal("state.again[1] is a table that it is part of", carry.problem(value, "state"))
  end)

  it("refuses what is nested too deep", function()
    local value = {}
    for _ = 1, 63 do
      value = { value }
    end
    assert.is_nil(carry.problem(value, "state"))
    assert.are.same(value, (round_trip(value)))
    assert.matches("nested deeper than 64 tables$", carry.problem({ value }, "state"))
  end)

  it("refuses too many items, each counted wherever it stands", function()
    local value = {}
    for index = 1, 50000 do
      value[index] = index
    end
    assert.is_nil(carry.problem(value, "state"))
    assert.are.equal("state has more than 100000 items", carry.problem({ value, value }, "state"))
  end)

  it("refuses a small graph that is a large tree", function()
    local value = 1
    for _ = 1, 60 do
      value = { value, value }
    end
    assert.are.equal("ctx has more than 100000 items", carry.problem(value, "ctx"))
  end)

  it("refuses too many bytes in strings, of keys too", function()
    local half = ("x"):rep(8 * 1024 * 1024)
    local problem = "state has more than 16777216 bytes in strings"
    assert.is_nil(carry.problem({ half, half }, "state"))
    assert.is_nil(carry.problem({ [half] = half }, "state"))
    assert.are.equal(problem, carry.problem({ half, half, { "x" } }, "state"))
    assert.are.equal(problem, carry.problem({ [half .. "x"] = half }, "state"))
    assert.are.equal(problem, carry.problem(half .. half .. "x", "state"))
  end)
end)
