-- Targets as operators write them.

local targets = require "zerg.config.targets"

describe("zerg.config.targets", function()
  it("takes addresses, names, services and sockets", function()
    local function parsed(text)
      return (assert(targets.parse(text)))
    end
    assert.same({ address = "127.0.0.1", port = 3000 }, parsed("127.0.0.1:3000"))
    assert.same({ address = "::1", port = 80 }, parsed("[::1]:80"))
    assert.same({ address = "fe80::1%lo", port = 80 }, parsed("[fe80::1%lo]:80"))
    assert.same({ name = "db.internal", port = 5432 }, parsed("db.internal:5432"))
    assert.same({ name = "app", port = 65535 }, parsed("app:65535"))
    assert.same({ name = "my_app-2.", port = 1 }, parsed("my_app-2.:1"))
    assert.same({ name = "1and1.example", port = 1 }, parsed("1and1.example:1"))
    assert.same({ path = "/run/x" }, parsed("unix:/run/x"))
    assert.same({ path = "a:b.sock" }, parsed("unix:a:b.sock"))
    assert.same({ path = "@x" }, parsed("unix:@x"))
    assert.same({ service = "_pg._tcp.db.internal" }, parsed("srv:_pg._tcp.db.internal"))
    local longest = (("x"):rep(63) .. "."):rep(3) .. ("x"):rep(61)
    assert.equal(longest, parsed(longest .. ":1").name)
  end)

  it("says what it expected", function()
    local function expected(what, texts)
      for _, text in ipairs(texts) do
        local target, said = targets.parse(text)
        assert.is_nil(target, text)
        assert.matches(what, said, 1, true, text)
      end
    end
    expected("an address or host name with a port",
      { "", "db", "127.0.0.1", "[::1]", ":80", "a:80\n", "a\0:80", "/run/x" })
    expected("a port from 1 to 65535",
      { "db:", "db:0", "db:65536", "127.0.0.1:80a", "db:-1", "db: 80", "db:000080", "[::1]:" })
    expected("an IPv6 address in brackets",
      { "::1", "::1:80", "[127.0.0.1]:80", "[db]:80", "[::1:80", "[::g]:80", "db:80:80" })
    expected('without "http://"', { "http://db:80", "http://127.0.0.1" })
    expected("an address or host name before the port",
      { "1.2.3.256:80", "127.1:80", "1:80", "-a:80", "a-:80", "a..b:80", ".:80", "a b:80", "a/b:80",
        ("x"):rep(64) .. ":80", ("x."):rep(126) .. "xx:80", "d\195\188rst:80" })
    expected('the name of a service behind "srv:"',
      { "srv:", "srv:db.internal", "srv:_pg._tcp", "srv:_pg._tcp.", "srv:_pg._tcp.db:80",
        "srv:_pg.tcp.db" })
    expected('the path of a socket behind "unix:"', { "unix:", "unix:@" })
  end)

  it("knows one target by several spellings", function()
    local function key(text)
      return targets.key(targets.parse(text))
    end
    assert.equal(key("[::1]:80"), key("[0:0::1]:080"))
    assert.equal(key("DB.internal:80"), key("db.Internal:80"))
    assert.equal(key("srv:_pg._tcp.Db"), key("srv:_PG._tcp.db"))
    assert.not_equal(key("db:80"), key("db:81"))
    assert.not_equal(key("unix:/a"), key("unix:/A"))
  end)
end)
