"""conn:relay: C moves an exact number of bytes, between what the handler reads itself."""

import random
import struct
import threading

from peer import PATIENCE, Backend, hash_of, pattern

COUNTED = """
local server = zerg.connect(TARGET)
local reader = conn:reader()
while true do
  local n = reader:u32()
  if not n then return server:close() end
  local moved, reason, part = conn:relay(server, n)
  server:write("|", tostring(moved), "|")
end
"""


def test_exactly_so_many_bytes_are_moved(caller, engine, behind):
    backend = behind(Backend)
    client = caller(COUNTED, backend.target).connect()
    upstream = backend.accept()
    sizes = [0, 1, 2, 511, 512, 513, 4095, 4096, 4097, 65_535, 65_536, 262_144, 262_145, 1_000_000, 3]
    parts = [pattern(size, size) for size in sizes]
    sender = client.send_in_background(b"".join(struct.pack(">I", len(part)) + part for part in parts))
    for part in parts:
        assert hash_of(upstream.receive(len(part))) == hash_of(part)
        upstream.expect(f"|{len(part)}|")
    sender.join(PATIENCE)
    client.half_close()
    upstream.expect_end()


def test_a_sharding_proxy(caller, engine, behind):
    """The header of each message says which server its body is for; answers come back the same way. Both sides are slow
    at times."""
    backends = [behind(Backend) for _ in range(3)]
    client = caller("""
        local servers = {}
        local reader = conn:reader()
        while true do
          local shard, length = reader:u8(), nil
          if not shard then break end
          length = reader:u32()
          local target = "shard" .. shard
          local server = servers[target] or assert(zerg.connect(target))
          servers[target] = server
          server:write(tostring(length), "\\n")
          assert(conn:relay(server, length) == length)
          local answer = tonumber(server:reader():read_line())
          conn:write(shard, " ", answer, "\\n")
          assert(server:relay(conn, answer) == answer)
        end
        for _, server in pairs(servers) do assert(server:keepalive()) end
    """, upstreams={f"shard{i}": {"servers": [backend.target]} for i, backend in enumerate(backends)}).connect()
    chance = random.Random(3)
    messages = [(chance.randrange(3), pattern(chance.choice([1, 600, 70_000, 700_000]), number))
                for number in range(40)]

    def serve(backend):
        peer = backend.accept()
        while True:
            try:
                body = peer.receive(int(peer.line()))
            except (AssertionError, OSError):
                return
            peer.send(f"{len(body)}\n").send(body[::-1])

    for backend in backends:
        threading.Thread(target=serve, args=(backend,), daemon=True).start()
    sender = client.send_in_background(b"".join(struct.pack(">BI", shard, len(body)) + body
                                                for shard, body in messages))
    for shard, body in messages:
        assert client.line() == f"{shard} {len(body)}"
        assert hash_of(client.receive(len(body))) == hash_of(body[::-1])
    sender.join(PATIENCE)
    client.half_close()
    client.expect_end()


def test_what_a_reader_left_goes_with_it(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        local server = zerg.connect(TARGET)
        local reader = conn:reader()
        conn:peek(20)
        local seq = reader:read()
        reader:advance(4, #seq)
        assert(conn:relay(server, 10) == 10)
        conn:write("relayed\\n")
        local rest = reader:read() -- waits for more than was looked at and is still there
        conn:write(tostring(rest), "\\n")
        local count = #rest
        reader:advance(0, count)
        assert(conn:relay(server, count) == count)
        conn:write(tostring(reader:read()), "\\n")
    """, backend.target).connect()
    upstream = backend.accept()
    client.send("head0123456789unread")
    upstream.expect("0123456789")
    assert client.line() == "relayed"
    client.send("!")
    assert client.line() == "unread!"
    upstream.expect("unread!")
    client.send("new")
    assert client.line() == "new"


def test_all_that_comes(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        local server = zerg.connect(TARGET)
        local moved, reason, count = conn:relay(server, math.huge)
        conn:write(tostring(moved), " ", reason, " ", count, "\\n")
        server:close()
    """, backend.target).connect()
    upstream = backend.accept()
    data = pattern(2_000_000)
    sender = client.send_in_background(data)
    assert hash_of(upstream.receive(len(data))) == hash_of(data)
    sender.join(PATIENCE)
    client.half_close()
    assert client.line() == "nil closed 2000000"
    upstream.expect_end()


def test_to_itself_is_an_echo(caller, engine):
    client = caller("conn:write(tostring(conn:relay(conn, 5)), '\\n')").connect()
    client.send("12345rest")
    client.expect("123455\n")


def test_how_it_ends_early(caller, engine, behind):
    backend = behind(Backend)
    server = caller("""
        local server = zerg.connect(TARGET)
        local way = conn:reader():read_line()
        if way == "timeout" then conn:timeout{ read = 0.1 } end
        if way == "closed sink" then zerg.spawn(function() zerg.sleep(0.05) server:close() end) end
        if way == "cancel" then
          local task = zerg.spawn(conn.relay, conn, server, 100)
          zerg.sleep(0.05)
          task:cancel()
          conn:write(select(2, task:join()), "\\n")
          return
        end
        if way == "deadline" then
          conn:write(select(2, zerg.deadline(0.05, conn.relay, conn, server, 100)), "\\n")
        end
        local moved, reason, count = conn:relay(server, 100)
        conn:write(tostring(moved), " ", reason, " ", count, "\\n")
        if way == "closed sink" then
          conn:write(tostring(select(2, conn:relay(server, 1))), " ", conn:relay(server, 0), "\\n")
        end
        if way == "timeout" then conn:write(conn:reader():read_line(), "\\n") end
    """, backend.target)

    def begin(way):
        client = server.connect().send(way + "\n12345")
        return client, backend.accept()

    client, upstream = begin("source ends")
    upstream.expect("12345")
    client.half_close()
    assert client.line() == "nil closed 5"
    client, upstream = begin("timeout")
    assert client.line() == "nil timeout 5"
    assert client.ask_line("goes on") == "goes on"
    client, upstream = begin("sink reset")
    upstream.expect("12345").reset()
    assert client.line() == "nil reset 5"
    client, upstream = begin("sink reset, source ended")
    client.half_close()
    client.line()
    client, upstream = begin("closed sink")
    assert client.line() == "nil closed 5"
    assert client.line() == "closed 0"
    client, upstream = begin("cancel")
    upstream.expect("12345")
    assert client.line() == "canceled"
    client, upstream = begin("deadline")
    upstream.expect("12345")
    assert client.line() == "timeout"
    upstream.reset()
    assert client.line() == "nil reset 0"


def test_a_slow_sink_holds_the_source_back(caller, engine, behind):
    """And that is no reason to say that the source is slow."""
    backend = behind(Backend)
    client = caller("""
        local server = zerg.connect(TARGET)
        conn:timeout{ read = 0.15 }
        local n = conn:relay(server, 120e6)
        server:close()
        conn:write(tostring(n), "\\n")
    """, backend.target).connect()
    upstream = backend.accept()
    sent = client.send_until_blocked(120_000_000, quiet=0.4)
    assert sent < 120_000_000
    block = bytes(65536)

    def send_rest():
        left = 120_000_000 - sent
        while left > 0:
            left -= client.sock.send(block[:left])

    thread = threading.Thread(target=send_rest, daemon=True)
    thread.start()
    upstream.receive_hash(120_000_000)
    assert client.line() == "120000000"


def test_two_who_relay_from_or_to_one_connection(caller, engine, behind):
    backend = behind(Backend)
    client = caller("""
        local a, b = zerg.connect(TARGET), zerg.connect(TARGET)
        local first = zerg.spawn(function() return conn:relay(a, 5) end)
        zerg.sleep(0.01)
        conn:write(select(2, pcall(conn.relay, conn, b, 5)), "\\n")
        conn:write(select(2, pcall(b.relay, b, a, 5)), "\\n")
        conn:write(select(2, pcall(conn.read, conn)), "\\n")
        conn:write(select(2, pcall(conn.forward, a, b)), "\\n")
        a:write("between ")
        conn:write("go\\n")
        conn:write(first:join(), "\\n")
    """, backend.target).connect()
    assert client.line().endswith("conn:relay: another coroutine is reading this connection")
    assert client.line().endswith("conn:relay: another coroutine relays to this connection")
    assert client.line().endswith("conn:read: another coroutine is reading this connection")
    assert client.line().endswith("conn:forward: another coroutine relays to this connection")
    assert client.line() == "go"
    client.send("12345")
    assert client.line() == "5"
    backend.accept().expect("between 12345")


def test_the_sink_is_held_on_to(caller, engine, behind):
    """Nothing but the call has it."""
    backend = behind(Backend)
    client = caller("""
        local collecting = zerg.every(0.002, collectgarbage)
        for i = 1, 40 do
          local moved, reason = conn:relay(assert(zerg.connect(TARGET)), 10)
          conn:write(tostring(moved), " ", tostring(reason), "\\n")
        end
        collecting:cancel()
    """, backend.target).connect()
    for _ in range(40):
        client.send("12345")
        upstream = backend.accept().expect("12345")
        client.expect_silence(0.005)
        client.send("67890")
        upstream.expect("67890")
        assert client.line() == "10 nil"
