-- conn.proxy: what a PROXY protocol header said.

local engine = require("support.engine")

local function served(proxied)
  local peer = engine.connect(function(conn)
    conn:wait()
  end)
  peer.proxied = proxied
  return peer, peer.conn
end

local HEADER = {
  _version = 2,
  _has_addrs = 1,
  _source_addr = "192.0.2.7",
  _source_port = 40000,
  _destination_addr = "198.51.100.1",
  _destination_port = 443,
  _peer_addr = "10.0.0.1",
  _peer_port = 555,
}

describe("conn.proxy", function()
  it("is nil without a header", function()
    local peer, conn = served(nil)
    assert.is_nil(conn.proxy)
    peer:finish()
    assert.is_nil(conn.proxy)
  end)

  it("has addresses, and who connected", function()
    local _, conn = served({ header = HEADER })
    assert.same({
      version = 2,
      command = "proxy",
      source_addr = "192.0.2.7",
      source_port = 40000,
      destination_addr = "198.51.100.1",
      destination_port = 443,
      peer_addr = "10.0.0.1",
      peer_port = 555,
      crc32c = false,
      tlvs = {},
    }, conn.proxy)
  end)

  it("has no addresses where the header has none", function()
    local _, conn = served({ header = { _version = 1, _peer_addr = "10.0.0.1", _peer_port = 555 } })
    assert.same({
      version = 1,
      command = "proxy",
      peer_addr = "10.0.0.1",
      peer_port = 555,
      crc32c = false,
      tlvs = {},
    }, conn.proxy)
  end)

  it("tells a proxy that speaks for itself", function()
    local _, conn = served({ header = { _version = 2, _is_local = 1 } })
    assert.equal("local", conn.proxy.command)
  end)

  it("names the fields it knows and gives all by type", function()
    local _, conn = served({
      header = { _version = 2, _has_crc32c = 1 },
      fields = {
        { 0x01, "h2" },
        { 0x02, "www.example.org" },
        { 0x05, "id\0-1" },
        { 0x30, "blue" },
        { 0xe0, "own" },
        { 0xe1, "" },
      },
    })
    local proxy = conn.proxy
    assert.is_true(proxy.crc32c)
    assert.equal("h2", proxy.alpn)
    assert.equal("www.example.org", proxy.authority)
    assert.equal("id\0-1", proxy.unique_id)
    assert.equal("blue", proxy.netns)
    assert.equal("own", proxy.tlvs[0xe0])
    assert.equal("", proxy.tlvs[0xe1])
    assert.equal("h2", proxy.tlvs[0x01])
    assert.is_nil(proxy.ssl)
  end)

  it("gives the first of several fields of one type", function()
    local _, conn = served({ header = HEADER, fields = { { 0xe0, "a" }, { 0xe0, "b" } } })
    assert.same({ [0xe0] = "a" }, conn.proxy.tlvs)
  end)

  it("tells of the client's TLS", function()
    local _, conn = served({
      header = HEADER,
      fields = { { 0x20, "raw" } },
      ssl = { _verify = 0, _has_tls = 1, _has_cert_sess = 1 },
      ssl_fields = {
        { 0x21, "TLSv1.3" },
        { 0x22, "ann" },
        { 0x23, "TLS_AES_256_GCM_SHA384" },
        { 0x24, "RSA-SHA256" },
        { 0x25, "RSA2048" },
        { 0x77, "unknown" },
      },
    })
    assert.same({
      verify = 0,
      client = { tls = true, cert_conn = false, cert_sess = true },
      version = "TLSv1.3",
      cn = "ann",
      cipher = "TLS_AES_256_GCM_SHA384",
      sig_alg = "RSA-SHA256",
      key_alg = "RSA2048",
    }, conn.proxy.ssl)
  end)

  it("is made once, as long as the connection is served", function()
    local peer, conn = served({ header = HEADER })
    local proxy = conn.proxy
    proxy.user = "ann"
    assert.equal(proxy, conn.proxy)
    peer:finish()
    assert.is_nil(conn.proxy.user)
  end)

  it("never shows another connection's", function()
    local peer, old = served({ header = HEADER })
    assert.equal(2, old.proxy.version)
    peer:finish()
    engine.connect(function(conn)
      conn:wait()
    end, peer.slot)
    assert.is_nil(old.proxy)
  end)

  it("cannot be set", function()
    local _, conn = served({ header = HEADER })
    assert.has_error(function()
      conn.proxy = {}
    end, "conn.proxy cannot be set (keep your own data in conn.ctx)")
  end)
end)
