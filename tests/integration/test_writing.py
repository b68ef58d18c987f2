"""Writing from a script: what can be written, staging, flushing, and the ways to end a connection."""

from luatext import ECHO
from peer import SCALE, hash_of, pattern, until


def test_everything_that_can_be_written(zerg):
    peer = zerg("""
        local ffi = require "ffi"
        local data = conn:peek(5)
        local bytes = ffi.new("uint8_t[3]", 120, 121, 122)
        conn:write("s", 1, 2.5):write(data):write(bytes, 3):write(data:slice(2, 3)):write("")
        conn:read():release()
        conn:write(" end\\n")
    """).connect()
    assert peer.send("hello").line() == "s12.5helloxyzel end"


def test_reserve_and_commit(zerg):
    peer = zerg("""
        for n = 1, 100 do
          local room = conn:reserve(n * 600)
          for i = 0, n - 1 do room[i] = 64 + n % 26 end
          conn:commit(n)
        end
        local ok = pcall(conn.commit, conn, 1)
        local too_much = pcall(conn.reserve, conn, 65537)
        conn:write(tostring(ok), " ", tostring(too_much), "\\n")
    """).connect()
    for n in range(1, 101):
        peer.expect(bytes([64 + n % 26]) * n)
    assert peer.line() == "false false"


def test_staged_bytes_leave_when_the_handler_parks(zerg):
    peer = zerg("""
        conn:write("a"):write("b")
        zerg.sleep(0.3)
        conn:write("c")
        conn:wait()
        conn:write("d")
        zerg.queue():get(0.3)
    """).connect()
    peer.expect("abc").ask("x", "d")


def test_flush_means_the_kernel_has_it(zerg):
    peer = zerg("""
        local text = string.rep("0123456789", 1000)
        assert(conn:write(text):flush() == true)
        assert(conn.bytes_out == 10000, conn.bytes_out)
        assert(conn:send("more", "!") == true)
        conn:write(conn.bytes_out, "\\n")
    """).connect()
    peer.expect("0123456789" * 1000).expect("more!10005\n")


def test_a_writer_parks_when_its_peer_does_not_read(zerg):
    """No more than write_buffer_max is staged beyond what the kernel takes; other connections go on."""
    server = zerg("""
        local shared = require "shared"
        local what = tostring(conn:read())
        if what == "progress" then
          conn:write(shared.written, "\\n")
          return
        end
        local block = string.rep("b", 65536)
        for i = 1, 1024 do
          if not conn:write(block) then return end
          shared.written = i * 65536
        end
    """, files={"shared.lua": "return { written = 0 }"},
         listeners=[{"address": "127.0.0.1", "write_buffer_max": "128k"}])

    def progress():
        return int(server.connect().send("progress").line())

    slow = server.connect(receive_buffer=16384)
    before = server.resident_bytes()
    slow.send("go")
    until(lambda: progress() > 0, "the writer begins")
    last = -1
    while (now := progress()) != last:
        last = now
        server.connect().send("progress").line()
    assert last < 32 << 20
    assert server.resident_bytes() - before < 8 << 20
    assert slow.rest() == b"b" * (64 << 20)


def test_writes_to_a_dead_connection_say_why(zerg):
    server = zerg("""
        local gone = zerg.queue()
        conn:on_close(function() gone:put(true) end)
        conn:read():release()
        gone:get()
        local ok, reason = conn:write("x")
        local flushed, why = conn:flush()
        local more, still = conn:read()
        zerg.log.info("write %s %s flush %s %s read %s %s", tostring(ok), reason, tostring(flushed), why,
                      tostring(more), still)
    """)
    server.connect().send("y").reset()
    server.log.wait("write nil reset flush nil reset read nil reset")


def test_use_after_close_raises(zerg):
    server = zerg("""
        conn:write("last")
        conn:close()
        conn:close()
        for _, name in ipairs{ "write", "flush", "wait", "reserve" } do
          local ok, message = pcall(conn[name], conn, 1)
          zerg.log.info("%s after close: %s %s", name, tostring(ok), tostring(message))
        end
    """)
    peer = server.connect()
    assert peer.rest() == b"last"
    for name in ("write", "flush", "wait", "reserve"):
        assert f"{name} after close: false" in server.log.wait(f"{name} after close")


def test_shutdown_flushes_first(zerg):
    data = "z" * 3_000_000
    peer = zerg("""
        conn:write(string.rep("z", 3000000))
        conn:shutdown()
        conn:shutdown()
        local ok, message = pcall(conn.write, conn, "more")
        conn:wait()
    """).connect()
    assert peer.rest().decode() == data


def test_a_connection_is_used_from_other_coroutines(zerg):
    """A chat in small: each line goes to everybody on the reactor."""
    server = zerg("""
        local room = require "room"
        room[conn.id] = conn
        conn:on_close(function() room[conn.id] = nil end)
        conn:write("welcome\\n")
        local reader = conn:reader()
        while true do
          local line = reader:read_line()
          if not line then break end
          for _, other in pairs(room) do other:write(tostring(line), "\\n") end
        end
    """, files={"room.lua": "return {}"})
    peers = server.connect_many(5)
    for peer in peers:
        assert peer.line() == "welcome"
    for number, speaker in enumerate(peers):
        speaker.send(f"from {number}\n")
        for peer in peers:
            assert peer.line() == f"from {number}"
    peers[0].reset()
    peers[1].close()
    peers[2].send("still here\n")
    for peer in peers[2:]:
        assert peer.line() == "still here"


def test_large_writes_of_every_size_arrive_whole(zerg):
    peer = zerg("""
        local reader = conn:reader()
        while true do
          local n = reader:u32()
          if not n then return end
          conn:write(string.rep("x", n))
        end
    """).connect()
    for count in (1, 4095, 4096, 4097, 65535, 65536, 65537, 262_145, 1_000_003, 20_000_000):
        peer.send(count.to_bytes(4, "big"))
        assert peer.receive_hash(count) == hash_of(b"x" * count)


def test_echo_of_sequences_under_a_slow_reader(zerg):
    """Both directions blocked in turn: the script's write parks, its reads stop, and everything still arrives."""
    peer = zerg(ECHO).connect(receive_buffer=8192)
    count = (16 << 20) if SCALE == 1 else (2 << 20)
    data = pattern(count)
    sender = peer.send_in_background(data)
    assert peer.receive_hash(count) == hash_of(data)
    sender.join()


def test_misuse_names_the_value_and_writes_nothing(zerg):
    server = zerg("""
        local stream = conn:stream()
        for _, use in ipairs{
          function() conn:write("lost", nil, nil, "b") end,
          function() conn:send("lost", {}) end,
          function() stream:write("lost", false) end,
        } do
          conn:write(select(2, pcall(use)), "\\n")
        end
    """)
    lines = server.connect().rest().decode().splitlines()
    kinds = "expected strings, numbers, views, sequences or (cdata, length), got "
    assert [line[line.index("handler.lua"):] for line in lines] == [
        f"handler.lua:5: conn:write: value 2: {kinds}nil",
        f"handler.lua:6: conn:send: value 2: {kinds}table",
        f"handler.lua:7: stream:write: value 2: {kinds}boolean",
    ]
