-- Lines of keys, found in the source.

local locate = require "zerg.config.locate"

---Lines of several paths, written "a.2.b".
local function lines(source, ...)
  local locator, found = locate.new(source), {}
  for index, text in ipairs { ... } do
    local path = {}
    for part in text:gmatch("[^.]+") do
      path[#path + 1] = tonumber(part) or part
    end
    found[index] = locator:line(path)
  end
  return found
end

describe("zerg.config.locate", function()
  it("follows nested tables, names, quoted names and positions", function()
    local source = [[
return {
  a = 1, b = 2,
  ["c"] = 3,
  ['d'] =
    4,
  list = {
    { port = 1 };
    {
      port = 2,
      deep = { read = 1,
               write = 2 },
    },
    [7] = { x = 1 },
  },
}]]
    assert.same({ 2, 2, 3, 4, 6, 7, 8, 9, 11, 13 },
      lines(source, "a", "b", "c", "d", "list", "list.1.port",
      "list.2", "list.2.port", "list.2.deep.write", "list.7.x"))
  end)

  it("falls back to the nearest key around, then to the return", function()
    local source = "local x = 1\nreturn {\n  a = {\n    b = 1,\n  },\n  c = f { d = 1 },\n}"
    assert.same({ 3, 4, 6, 2, 2 }, lines(source, "a.z", "a.b.z", "c.d", "z", ""))
  end)

  it("skips functions, with their tables, separators and ends", function()
    local source = [[
return {
  a = function(x, y)
    if x then return { a = 1, z = 2 }; end
    for i = 1, 2 do local t = { 1, 2 } end
    while x do break end
    repeat local u = function() end until true
    return 1, 2
  end,
  b = (function() return { z = 1 } end)(),
  z = 3,
}]]
    assert.same({ 2, 9, 10 }, lines(source, "a", "b", "z"))
  end)

  it("skips comments and strings that look like code", function()
    local source = [==[
#!/usr/bin/env zerg
-- return { a = 1 }
--[[ return {
  a = 1 } ]]
--[=[ ]] return {
]=]
local s = "return { \" a = 1" .. 'return {' .. [[
return { a = 1 }]]
return { -- {
  s = "}, a = 1", --[[ } ]] t = [[
  }]],
  u = '\'}', v = "\\",
  a = 1,
}]==]
    assert.same({ 10, 10, 12, 12, 13, 9 }, lines(source, "s", "t", "u", "v", "a", "none"))
  end)

  it("takes the last return that is in no block", function()
    local source = [[
local function f()
  return { a = 1 }
end
if f then return { a = 2 } end
do
  return {
    a = 3,
  } end
local _ = { ["return"] = function() return end }
return {

  a = 4,
}
]]
    assert.same({ 12 }, lines(source, "a"))
  end)

  it("follows a local that is returned", function()
    local source = "local config = {\n  a = 1,\n  b = { c = 2 },\n}\nconfig.d = 4\nreturn config\n"
    assert.same({ 2, 3, 6 }, lines(source, "a", "b.c", "d"))
  end)

  it("reads numbers of every shape", function()
    local source = "return {\n a = 0x1F, b = 1e+3, c = .5, d = 3.,\n e = 0x1e+1, f = 2^-1,\n"
      .. " 10, 0x1p-2,\n 30,\n}"
    assert.same({ 2, 3, 3, 4, 4, 5 }, lines(source, "d", "e", "f", "1", "2", "3"))
  end)

  it("counts computed keys as no position", function()
    local source = "return {\n [x .. 'a'] = 1,\n [f{1, 2}] = { 3 },\n 'first',\n}"
    assert.same({ 4 }, lines(source, "1"))
  end)

  it("survives what it cannot follow", function()
    for _,
      source in ipairs { "", "return", "return f()", "return {", "return { a = ",
      "return setmetatable({ a = 1 }, m)",
      "x = [[", "x = '", "--[[", "return nothing", "return { [", "return { [a" } do
      assert.equal(1, locate.new(source):line { "a", 1, "b" })
    end
  end)
end)
