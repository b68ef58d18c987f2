-- zerg.lua from a file: lines, errors of the code itself, scripts, package.path.

local config = require "zerg.config"
local handler = require "zerg.config.handler"

local saved_path

local function make_directory()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. path .. " " .. path .. "/handlers " .. path .. "/lib"))
  return path
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

---Problems as "file:line: key: message", file without the directory.
local function texts(problems, directory)
  local shown = {}
  for index, problem in ipairs(problems) do
    local file = problem.file:gsub("^" .. directory:gsub("%p", "%%%0") .. "/", "")
    shown[index] = ("%s:%s: %s%s"):format(file, problem.line or "-",
      problem.key and problem.key .. ": " or "",
      problem.message:gsub(directory:gsub("%p", "%%%0"), "D"))
  end
  return shown
end

describe("zerg.config.load", function()
  local directory

  before_each(function()
    saved_path = package.path
    directory = make_directory()
  end)

  after_each(function()
    package.path = saved_path
    package.loaded.zergspecmodule = nil
    os.execute("rm -r " .. directory)
  end)

  local function load(text, options)
    return config.load(write(directory .. "/zerg.lua", text), options)
  end

  ---@return string[]
  local function problems_of(text, options)
    local normalised, problems = load(text, options)
    assert.is_nil(normalised)
    return texts(problems, directory)
  end

  it("gives back the whole configuration", function()
    write(directory .. "/handlers/echo.lua", "return function(conn) end")
    local normalised, problems = load [[
return {
  reactors = 2,
  listeners = {
    { port = 7000, handler = "handlers/echo.lua" },
    { port = 7001, handler = function() return 1 end },
  },
  log = { file = "zerg.log" },
  lua_path = "lib/?.lua;/opt/x/?.lua",
}]]
    assert.same({}, problems)
    assert.equal(2, normalised.reactors)
    assert.equal(directory .. "/zerg.lua", normalised.path)
    assert.equal(directory, normalised.directory)
    assert.equal(directory .. "/zerg.log", normalised.log.file)
    assert.equal(directory .. "/lib/?.lua;/opt/x/?.lua", normalised.lua_path)
    assert.equal(directory .. "/handlers/echo.lua", normalised.listeners[1].handler_path)
    assert.equal("handlers/echo.lua", normalised.listeners[1].handler)
    assert.equal(1, normalised.listeners[2].handler())
    assert.matches("zerg.lua:5 %(function%)$", normalised.listeners[2].handler_label)
  end)

  it("reports every problem with its line, in their order", function()
    assert.same({
      "zerg.lua:4: reactor.batch_cqes: expected a number from 1 to 65536, got 0",
      "zerg.lua:7: listeners[1].hanlder: unknown key: did you mean `handler`?",
      'zerg.lua:9: listeners[2].port: expected a number from 1 to 65535, got "80a"',
      "zerg.lua:12: listeners[3]: "
        .. "`handler` is missing: a function or the path of a Lua file; or `forward`",
      "zerg.lua:14: reactor_count: unknown key",
    }, problems_of [[
local function f() end
return {
  reactor = {
    batch_cqes = 0,
  },
  listeners = {
    { port = 7000, handler = f, hanlder = 1 },
    {
      port = "80a",
      handler = f,
    },
    { port = 7002 },
  },
  reactor_count = 2,
}]])
  end)

  it("reports what a handler script has wrong at its own line", function()
    write(directory .. "/handlers/bad.lua", "#!/usr/bin/env zerg\nlocal x = 1\nx = = 2\n")
    assert.same({
      "zerg.lua:2: reactors: expected a number from 0 to 256, got -1",
      "handlers/bad.lua:3: listeners[1].handler: unexpected symbol near '='",
    }, problems_of [[
return {
  reactors = -1,
  listeners = { { port = 1, handler = "handlers/bad.lua" },
    { port = 2, handler = "handlers/bad.lua" } },
}]])
    assert.same({ "zerg.lua:3: listeners[1].handler: "
      .. "D/handlers/none.lua: No such file or directory" },
      problems_of "return { listeners = { { port = 1,\n\nhandler = 'handlers/none.lua' } } }")
  end)

  it("refuses a script with migrate that only HTTP has", function()
    local text = "return {\n  serve = print,\n  migrate = function() end,\n}\n"
    write(directory .. "/handlers/h.lua", text)
    local function problems_with(rest)
      local path = write(directory .. "/zerg.lua", [[return { listeners = {
  { port = 1, protocol = "http", handler = "handlers/h.lua" },]] .. rest .. "} }")
      local _, problems = config.load(path, { run_scripts = true })
      return texts(problems, directory)
    end
    assert.matches("^handlers/h.lua:3: listeners%[1%].handler: `migrate` is never called: "
      .. "only HTTP", problems_with("")[1])
    assert.same({}, problems_with('{ port = 2, handler = "handlers/h.lua" }'))
  end)

  it("runs handler scripts only when asked to, and reports what they do", function()
    local function with_scripts(text)
      write(directory .. "/handlers/h.lua", text)
      local config_text = [[
return {
  reactors = -1,
  lua_path = "lib/?.lua",
  listeners = { { port = 1, handler = "handlers/h.lua" },
    { port = 2, handler = "handlers/h.lua" } },
}]]
      return problems_of(config_text, { run_scripts = true })[2]
    end
    write(directory .. "/lib/zergspecmodule.lua", "return { function() end }")
    assert.is_nil(with_scripts("return require('zergspecmodule')[1]"))
    assert.is_nil(with_scripts("return { serve = print, stop = print }"))
    assert.equal("handlers/h.lua:2: listeners[1].handler: boom", with_scripts("\nerror('boom')"))
    assert.equal("handlers/h.lua:-: listeners[1].handler: unknown hook `serv`: "
      .. "did you mean `serve`?", with_scripts("return { serv = print }"))
    assert.equal("handlers/h.lua:-: listeners[1].handler: expected the script to return a function "
      .. "or a table with `serve`, got nil", with_scripts("local x = 1"))
    assert.matches("^handlers/h.lua:1: listeners%[1%].handler: module 'zerg_none' not found",
      with_scripts("require 'zerg_none'"))
    write(directory .. "/handlers/h.lua", "error('not run')")
    assert(load "return { listeners = { { port = 1, handler = 'handlers/h.lua' } } }")
  end)

  it("reports a syntax error with its line", function()
    assert.same({ "zerg.lua:2: '}' expected near 'port'" },
      problems_of "return { listeners = {\n{ prt port = 1 } } }")
    assert.same({ "zerg.lua:-: attempt to load chunk with wrong mode" },
      problems_of(string.dump(function() end)))
  end)

  it("reports what the code raises with its line", function()
    assert.same({ "zerg.lua:3: boom" }, problems_of "local x = 1\n\nerror('boom')")
    assert.same({ "zerg.lua:2: attempt to index global 'nothing' (a nil value)" },
      problems_of "local x = 1\nreturn { listeners = nothing.at.all }")
    assert.same({ "zerg.lua:2: plain" }, problems_of "local x = 1\nerror('plain', 0)")
    assert.same({ "zerg.lua:1: an error that is a table" }, problems_of("error({})"))
  end)

  it("reports errors of required modules where they are", function()
    write(directory .. "/zergspecmodule.lua", "local x\nreturn x.y\n")
    assert.same({ "zergspecmodule.lua:2: attempt to index local 'x' (a nil value)" },
      problems_of "\nrequire 'zergspecmodule'")
    write(directory .. "/zergspecbroken.lua", "x = = 1\n")
    local problem = problems_of("\nrequire 'zergspecbroken'")[1]
    assert.matches("^zerg.lua:2: error loading module 'zergspecbroken'", problem)
    assert.matches("^zerg.lua:3: module 'zerg_no_such_module' not found",
      problems_of("\n\nrequire 'zerg_no_such_module'")[1])
  end)

  it("reports a file that is not there, or returns nothing", function()
    local normalised, problems = config.load(directory .. "/other.lua")
    assert.is_nil(normalised)
    assert.same({ "other.lua:-: cannot read the configuration: No such file or directory" },
      texts(problems, directory))
    assert.same({ "zerg.lua:1: expected the file to return a table, got nil" },
      problems_of "local x = 1\n")
    assert.same({ "zerg.lua:2: expected the file to return a table, got 5" },
      problems_of "local x = 1\nreturn 5")
  end)

  it("lets zerg.lua require what lies beside it, and handlers what is in lua_path", function()
    write(directory .. "/zergspecmodule.lua", "return { port = 7123 }")
    local normalised = assert(load [[
local own = require "zergspecmodule"
return { listeners = { { port = own.port, handler = print } }, lua_path = "lib/?.lua" }]])
    assert.equal(7123, normalised.listeners[1].port)
    assert.equal(1,
      package.path:find(directory .. "/?.lua;" .. directory .. "/?/init.lua;" .. directory
      .. "/lib/?.lua;", 1, true))
    assert.equal(saved_path, package.path:sub(-#saved_path))
  end)

  it("is put behind what the command line says", function()
    local text = "return { reactors = 7, listeners = { { port = 1, handler = print } }, "
      .. "log = { level = 'warn' } }"
    local normalised = assert(load(text, { reactors = 1, log_level = "debug" }))
    assert.equal(1, normalised.reactors)
    assert.equal("debug", normalised.log.level)
    normalised = assert(load(text))
    assert.equal(7, normalised.reactors)
    assert.equal("warn", normalised.log.level)
    assert.same({ "zerg.lua:1: admin: `admin` is not available in this version (0.1.0)" },
      problems_of("return { admin = { port = 1 }, listeners = { { port = 1, handler = print } } }",
        { version = "0.1.0" }))
  end)

  it("starts relative paths at the file's directory, also when it is the working directory",
    function()
    local files = require "zerg.config.files"
    assert.equal(".", files.directory("zerg.lua"))
    assert.equal("/", files.directory("/zerg.lua"))
    assert.equal("a/b", files.directory("a/b/zerg.lua"))
    assert.equal("handlers/x.lua", files.join(".", "handlers/x.lua"))
    assert.equal("/x.lua", files.join("/", "x.lua"))
    assert.equal("/etc/x.lua", files.join("conf", "/etc/x.lua"))
    assert.equal("conf/x.lua", files.join("conf", "x.lua"))
  end)

  describe("from_script", function()
    it("serves one script on one port", function()
      local script = write(directory .. "/echo.lua", "return function() end")
      local normalised = assert(config.from_script(script, 9000, { reactors = 1 }))
      assert.equal(script, normalised.script)
      assert.is_nil(normalised.path)
      assert.equal(directory, normalised.directory)
      assert.equal(1, normalised.reactors)
      assert.equal(9000, normalised.listeners[1].port)
      assert.equal(script, normalised.listeners[1].handler_path)
      assert.equal(8080, config.from_script(script).listeners[1].port)
      assert.equal(1, package.path:find(directory .. "/?.lua;", 1, true))
    end)

    it("relays from one place to another", function()
      local function proxy(listen)
        local targets = { "127.0.0.1:3000", "db:3001" }
        local normalised = assert(config.from_proxy(listen, targets, { reactors = 1 }))
        assert.equal(listen, normalised.proxy_listen)
        assert.same(targets, normalised.proxy_targets)
        assert.equal("proxy", normalised.listeners[1].forward)
        local upstream = normalised.upstreams.proxy
        assert.equal("db:3001", upstream.servers[2].address)
        assert.equal(1, upstream.retries) -- every server is tried
        assert.equal("round_robin", upstream.balance)
        assert.is_nil(normalised.path)
        return normalised.listeners[1].name
      end
      assert.equal("*:8080", proxy(":8080"))
      assert.equal("127.0.0.1:8080", proxy("127.0.0.1:8080"))
      assert.equal("[::1]:8080", proxy("[::1]:8080"))
      assert.equal("unix:/run/x", proxy("unix:/run/x"))
    end)

    it("says which word of the command line is wrong", function()
      local function problem_of(listen, ...)
        local normalised, problems = config.from_proxy(listen, { ... })
        assert.is_nil(normalised)
        assert.equal(1, #problems)
        return ("%s: %s: %s"):format(problems[1].file, problems[1].key, problems[1].message)
      end
      assert.matches("^zerg proxy: TARGET: expected an address", problem_of(":1", "db"))
      assert.matches("^zerg proxy: LISTEN: expected an IPv4", problem_of("db:1", "127.0.0.1:1"))
      assert.matches("^zerg proxy: LISTEN: expected a number", problem_of(":0", "127.0.0.1:1"))
      assert.matches("LISTEN: expected a port", problem_of("80", "127.0.0.1:1"))
      assert.matches('TARGET: "a:1" is there already', problem_of(":1", "a:1", "b:1", "a:1"))
    end)

    it("reports the script's own problems", function()
      local function problems_of_script(path)
        local normalised, problems = config.from_script(path)
        assert.is_nil(normalised)
        return texts(problems, directory)
      end
      assert.same({ "no.lua:-: cannot read the script: No such file or directory" },
        problems_of_script(directory .. "/no.lua"))
      assert.same({ "bad.lua:2: '=' expected near 'y'" },
        problems_of_script(write(directory .. "/bad.lua", "\nx y")))
    end)
  end)

  describe("handler.load", function()
    local count = 0

    local function load_handler(text)
      count = count + 1
      local path = write(("%s/handlers/h%d.lua"):format(directory, count), text)
      local loaded, message = handler.load { handler = "h.lua", handler_path = path }
      return loaded, message and message:gsub(directory:gsub("%p", "%%%0"), "D"):gsub("h%d+", "h")
    end

    it("takes functions, and files that return a function or a table with serve", function()
      local function f() end
      assert.same({ serve = f }, handler.load { handler = f })
      assert.equal("function", type(load_handler("return function() end").serve))
      local loaded = load_handler("return { serve = print, start = error }")
      assert.equal(print, loaded.serve)
      assert.equal(error, loaded.start)
    end)

    it("runs a file once, however many listeners share it", function()
      local path = write(directory .. "/handlers/h.lua", "return { serve = function() end }")
      local listener = { handler = "h.lua", handler_path = path }
      assert.equal(handler.load(listener), handler.load(listener))
    end)

    it("says what is wrong with what it returned or raised", function()
      assert.same({ nil,
        "D/handlers/h.lua: expected the script to return a function or a table with `serve`, "
          .. "got nil" },
        { load_handler("local x = 1") })
      assert.same({ nil, "D/handlers/h.lua: `serve`: expected a function, got nil" },
        { load_handler("return {}") })
      assert.same({ nil, "D/handlers/h.lua: `stop`: expected a function, got 1" },
        { load_handler("return { serve = print, stop = 1 }") })
      assert.same({ nil, "D/handlers/h.lua: unknown hook `strat`: did you mean `start`?" },
        { load_handler("return { serve = print, strat = 1 }") })
      assert.same({ nil, "D/handlers/h.lua: unknown hook `1`: expected `serve`, `connect`, `test`, "
        .. "`start`, `migrate`, `stop`" },
        { load_handler("return { print, serve = print }") })
      assert.same({ nil, "D/handlers/h.lua:2: unexpected symbol near '='" },
        { load_handler("\n= 1") })
      assert.same({ nil, "D/handlers/h.lua:3: boom" }, { load_handler("\n\nerror('boom')") })
    end)

    it("takes what a self-test returns as assert() does, but for nothing", function()
      local function message_of(returned)
        local text = "\nreturn { serve = print, test = function() return %s end }"
        return select(2, load_handler(text:format(returned)))
      end
      assert.equal("D/handlers/h.lua:2: self-test failed: it returned false", message_of("false"))
      assert.equal("D/handlers/h.lua:2: self-test failed: bad", message_of("false, 'bad'"))
      assert.equal("D/handlers/h.lua:2: self-test failed: bad", message_of("nil, 'bad'"))
      assert.equal("lib/x.lua:7: self-test failed: bad", message_of("nil, 'lib/x.lua:7: bad'"))
      for _, returned in ipairs({ "", "nil", "true", "0", "'bad'" }) do
        assert.is_nil(message_of(returned))
      end
      assert.same({ nil, "D/handlers/h.lua: `test`: expected a function, got true" },
        { load_handler("return { serve = print, test = true }") })
      assert.same({ nil, "D/handlers/h.lua: `test`: expected a function, got false" },
        { load_handler("return { serve = print, test = false }") })
    end)

    it("shows the calls of the script alone", function()
      local path = directory .. "/handlers/h.lua"
      write(path, "local function f()\n  error('boom')\nend\npcall(print)\nf()\n")
      local _, problem = handler.run(path)
      local expected = "^stack traceback:\n\t[^\n]*h.lua:2: in function 'f'\n"
        .. "\t[^\n]*h.lua:5: in main chunk$"
      assert.equal("boom", problem.message)
      assert.matches(expected, problem.traceback)
    end)

    it("says what it can of errors that are no strings", function()
      local function message_of(value)
        return select(2, load_handler("\nerror(" .. value .. ")"))
      end
      assert.equal("D/handlers/h.lua:2: an error that is a table", message_of("{}"))
      assert.equal('D/handlers/h.lua:2: an error that is a table (code = 3, message = "no")',
        message_of("{ code = 3, message = 'no' }"))
      assert.equal("D/handlers/h.lua:2: an error that is a table: mine",
        message_of("setmetatable({}, { __tostring = function() return 'mine' end })"))
      assert.equal("D/handlers/h.lua:2: an error that is a table",
        message_of("setmetatable({}, { __tostring = error })"))
      assert.equal("D/handlers/h.lua:2: an error that is nil", message_of("nil"))
    end)
  end)
end)
