"""Reading from a script: views, sequences, peek, reader and stream, end to end.

The receive buffers are as small as they can be, so that what is read spans several of them.
"""

import re
import struct

import pytest

from peer import pattern

SMALL = {"recv_buffer_size": 1024, "buffer_ring_entries": 64}
LONG = pattern(5000)


@pytest.fixture(params=[False, True], ids=["plain", "incremental"])
def serve(zerg, request):
    """serve(body) → a peer of a server with small buffers, plain and incremental."""

    def start(body, **options):
        reactor = {**SMALL, "incremental": request.param}
        return zerg(body, reactor=reactor, **options).connect()

    return start


# ---- views ----


def test_views_give_every_byte_once(serve):
    peer = serve("""
        while conn:wait() do
          for view in conn:views() do
            assert(#view == view.len)
            conn:write(view)
            view:release()
          end
        end
    """)
    for _ in range(5):
        peer.ask(LONG)


def test_view_methods_work_like_those_of_strings(serve):
    peer = serve("""
        conn:wait()
        local view = conn:next_view()
        conn:write(view:sub(1, 5), "|", view:sub(-5), "|", view:byte(1), "|", (view:find("wor")), "|",
                   tostring(view:find("none")), "|", tostring(view), "|", view.ptr[0], "|", #view, "\\n")
    """)
    assert peer.send("hello world").line() == "hello|world|104|7|nil|hello world|104|11"


def test_a_released_view_raises(serve):
    peer = serve("""
        conn:wait()
        local view = conn:next_view()
        view:release()
        view:release()
        for _, use in ipairs{ tostring, function(v) return v:sub(1, 1) end, function(v) return v:byte(1) end,
                              function(v) return v:find("x") end, function(v) conn:write(v) end } do
          local ok, message = pcall(use, view)
          conn:write(tostring(ok), " ", tostring(message), "\\n")
        end
    """)
    peer.send("bytes")
    for _ in range(5):
        assert "view used after release" in peer.line()


def test_a_view_ends_with_the_next_read(serve):
    peer = serve("""
        conn:wait()
        local view = conn:next_view()
        conn:write("ready\\n")
        conn:wait()
        local ok, message = pcall(tostring, view)
        conn:write(tostring(ok), " ", message, "\\n")
    """)
    assert peer.send("one").line() == "ready"
    assert "view used after release" in peer.send("two").line()


def test_a_retained_view_outlives_reads_and_other_traffic(serve):
    peer = serve("""
        conn:wait()
        local view = conn:next_view()
        view:retain()
        conn:write("ready\\n")
        local seen = 0
        while seen < 100000 do seen = seen + #conn:read() end
        conn:write(tostring(view), "\\n")
        view:release()
        local ok, message = pcall(tostring, view)
        conn:write(message, "\\n")
    """)
    assert peer.send("kept").line() == "ready"
    assert peer.send(bytes(100_000)).line() == "kept"
    assert "after release" in peer.line()


def test_views_that_are_dropped_come_back_by_themselves(serve):
    """A script that retains and forgets: collection gives the buffers back, the connection does not starve for ever."""
    peer = serve("""
        for data in conn:reads() do
          data:retain()
          conn:write(data)
          data = nil
          collectgarbage()
          collectgarbage()
        end
    """)
    for _ in range(40):
        peer.ask(LONG)


def test_bytes_of_one_connection_never_show_up_in_a_kept_view_of_another(zerg):
    """The kept view must raise, not read whatever its buffer holds by then."""
    server = zerg("""
        local keep = require "keep"
        conn:wait()
        local view = conn:next_view()
        if tostring(view) == "ask" then
          local ok, message = pcall(tostring, keep.view)
          conn:write(tostring(ok), " ", message)
        else
          keep.view = view
          conn:write("kept")
          conn:wait()
          zerg.log.info("its connection is gone")
        end
    """, files={"keep.lua": "return {}"}, reactor=SMALL)
    server.connect().ask("secret", "kept").close()
    server.log.wait("its connection is gone")
    for _ in range(30):
        other = server.connect()
        assert b"secret" not in other.send("ask").rest()
    assert server.connect().send("ask").rest().startswith(b"false ")


# ---- sequences ----


def test_sequence_methods_work_across_borders(serve):
    peer = serve("""
        local data = conn:peek(5000)
        local text = tostring(data)
        assert(#data == 5000 and #text == 5000)
        for i = 1, 5000, 7 do assert(data:byte(i) == text:byte(i)) end
        for i = 1, 4900, 111 do
          assert(data:sub(i, i + 90) == text:sub(i, i + 90))
          assert(data:find(text:sub(i, i + 30)) == text:find(text:sub(i, i + 30), 1, true))
          assert(tostring(data:slice(i, i + 90)) == text:sub(i, i + 90))
        end
        assert(data:find("no such thing") == nil)
        assert(data:sub(-3) == text:sub(-3) and data:sub(4990) == text:sub(4990))
        local pieces, total = 0, 0
        for view in data:views() do pieces = pieces + 1; total = total + #view end
        assert(total == 5000, total)
        conn:write("pieces ", pieces, "\\n")
    """)
    kind, pieces = peer.send(LONG).line().split()
    assert kind == "pieces" and int(pieces) >= 4


def test_a_slice_is_written_without_its_neighbours(serve):
    peer = serve("""
        local data = conn:peek(5000)
        conn:write(data:slice(1000, 3500))
    """)
    assert peer.send(LONG).receive(2501) == LONG[999:3500]


def test_a_released_sequence_raises(serve):
    peer = serve("""
        local data = conn:read()
        data:release()
        local ok, message = pcall(tostring, data)
        conn:write(tostring(ok), " ", message, "\\n")
        local first = conn:read()
        conn:write("ready\\n")
        conn:read()
        ok, message = pcall(function() return first:byte(1) end)
        conn:write(tostring(ok), " ", message, "\\n")
    """)
    line = peer.send("one").line()
    assert line.startswith("false ") and "after release" in line
    assert peer.send("two").line() == "ready"
    line = peer.send("three").line()
    assert line.startswith("false ") and "after release" in line


def test_a_retained_sequence_can_be_answered_later(serve):
    peer = serve("""
        local kept = {}
        for data in conn:reads() do
          local all = tostring(data)
          data:retain()
          kept[#kept + 1] = data
          if all:sub(-1) == "." then
            for i = 1, #kept do conn:write(kept[i]); kept[i]:release() end
            kept = {}
          end
        end
    """)
    peer.ask("one part.")
    peer.ask(LONG[:2000].replace(b".", b",") + b".")


def test_peek_consumes_nothing(serve):
    peer = serve("""
        local head = tostring(conn:peek(4))
        local again = tostring(conn:peek(8))
        conn:write(head:sub(1, 4), "|", again:sub(1, 8), "|")
        local rest = ""
        while #rest < 8 do rest = rest .. tostring(conn:read()) end
        conn:write(rest)
    """)
    peer.send("abc").send("d").send("efgh").expect("abcd|abcdefgh|abcdefgh")


def test_peek_beyond_the_end_says_closed(serve):
    peer = serve("""
        local data, reason = conn:peek(10)
        conn:write(tostring(data), " ", reason, " ", tostring(conn:read()), "\\n")
    """)
    assert peer.send("abc").half_close().line() == "nil closed abc"


def test_reads_end_with_the_reason(serve):
    peer = serve("""
        for data in conn:reads() do conn:write(data) end
        conn:write("<", tostring(conn.reason), ">")
        local data, reason = conn:read()
        conn:write(tostring(data), reason)
    """)
    peer.ask("abc").half_close()
    assert peer.rest() == b"<closed>nilclosed"


def test_two_readers_on_one_connection_raise(serve):
    peer = serve("""
        local task = zerg.spawn(function() conn:wait() end)
        zerg.sleep(0.01)
        for _, name in ipairs{ "wait", "read", "peek" } do
          local ok, message = pcall(conn[name], conn)
          conn:write(tostring(ok), " ", message, "\\n")
        end
        task:join()
        conn:write(tostring(conn:read()))
    """)
    for name in ("wait", "read", "peek"):
        line = peer.line()
        assert line.startswith("false ") and name in line
    peer.ask("now")


def test_reading_after_close_raises(serve):
    peer = serve("""
        conn:close()
        local ok, message = pcall(conn.read, conn)
        zerg.log.info("after close: %s %s", tostring(ok), message)
    """)
    peer.expect_end()


def test_misuse_names_the_method_and_what_it_got(serve):
    peer = serve("""
        local ok, message = pcall(conn.peek, conn, "many")
        conn:write(message, "\\n")
        ok, message = pcall(conn.write, conn, {})
        conn:write(message, "\\n")
    """)
    line = peer.line()
    assert "peek" in line and ("string" in line or "many" in line)
    line = peer.line()
    assert "write" in line and "table" in line


# ---- reader ----


def test_reader_examines_and_consumes(serve):
    """read() parks until there is more than advance() said was examined, and gives the unconsumed part again."""
    peer = serve("""
        local reader = conn:reader()
        while true do
          local data = reader:read()
          if not data then return end
          local at = data:find("\\n")
          if at then
            conn:write("<", data:sub(1, at - 1), ">")
            reader:advance(at)
          else
            conn:write("?")
            reader:advance(0, #data)
          end
        end
    """)
    peer.ask("ab", "?").ask("cd", "?").ask("ef\n", "<abcdef>")
    peer.ask("1\n2\n3\n", "<1><2><3>")
    peer.send(b"x" * 3000 + b"\n")
    answer = peer.receive(3002)
    while answer.startswith(b"?"):
        answer = answer[1:] + peer.receive(1)
    assert answer == b"<" + b"x" * 3000 + b">"


def test_reader_lines_and_delimiters(serve):
    peer = serve("""
        local reader = conn:reader()
        conn:write("[", tostring(reader:read_line()), "]")
        conn:write("[", tostring(reader:read_line()), "]")
        conn:write("[", tostring(reader:read_until("||")), "]")
        conn:write("[", tostring(reader:read_exactly(4)), "]")
        reader:skip(3)
        conn:write("[", tostring(reader:read_line()), "]")
        local last, reason = reader:read_line()
        conn:write(tostring(last), " ", tostring(reason))
    """)
    peer.send("unix\nwindows\r\nto a mark||four...end\ntorn").half_close()
    assert peer.rest() in (b"[unix][windows][to a mark][four][end]nil closed",
                           b"[unix][windows][to a mark||][four][end]nil closed")


def test_reader_line_longer_than_allowed(serve):
    peer = serve("""
        local line, reason = conn:reader():read_line(100)
        conn:write(tostring(line), " ", reason, "\\n")
    """)
    assert peer.send("x" * 200).line() == "nil limit"


def test_reader_numbers_of_every_width(serve):
    values = [200, -3, 60000, -300, 4_000_000_000, -70_000, 2**40 + 5, -(2**40), 1.5, -2.25]
    codes = "BbHhIiQqfd"
    names = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]
    body = "local reader = conn:reader()\nlocal out = {}\n"
    for order, suffix in ((">", ""), ("<", "le")):
        for name in names:
            method = name if name.endswith("8") else name + suffix
            body += f"out[#out + 1] = tonumber(reader:{method}())\n"
    body += 'for i = 1, #out do conn:write(string.format("%.17g ", out[i])) end conn:write("\\n")'
    peer = serve(body)
    for order in "><":
        for code, value in zip(codes, values):
            for byte in struct.pack(order + code, value):
                peer.send(bytes([byte]))
    assert [float(text) for text in peer.line().split()] == [float(value) for value in values] * 2


def test_reader_numbers_end_with_the_stream(serve):
    peer = serve("""
        local value, reason = conn:reader():u32()
        conn:write(tostring(value), " ", reason, "\\n")
    """)
    assert peer.send(b"\x01\x02").half_close().line() == "nil closed"


def test_reader_cancel_wakes_a_parked_read(serve):
    peer = serve("""
        local reader = conn:reader()
        zerg.spawn(function() zerg.sleep(0.02) reader:cancel() end)
        local data, reason = reader:read()
        conn:write(tostring(data), " ", reason, "\\n")
        conn:write(tostring(reader:read_line()), "\\n")
    """)
    assert peer.line() == "nil canceled"
    assert peer.ask_line("still usable") == "still usable"


def test_reader_try_read_does_not_park(serve):
    peer = serve("""
        local reader = conn:reader()
        local nothing = reader:try_read()
        conn:write(nothing and "something" or "nothing", "\\n")
        conn:peek(4)
        local data = reader:try_read()
        conn:write(tostring(data), "\\n")
        reader:advance(#data)
        reader:complete()
    """)
    assert peer.line() == "nothing"
    assert peer.send("data").line() == "data"


def test_a_large_frame_is_read_whole(serve):
    """More than the ring of buffers holds: the bytes wait without starving the connection."""
    peer = serve("""
        local reader = conn:reader()
        local n = reader:u32()
        local body = reader:read_exactly(n)
        conn:write(#body, "\\n")
        conn:write(body)
    """)
    data = pattern(300_000)
    sender = peer.send_in_background(struct.pack(">I", len(data)) + data)
    assert peer.line() == "300000"
    assert peer.receive(len(data)) == data
    sender.join()


# ---- stream ----


def test_stream_reads_like_a_file(serve):
    peer = serve("""
        local stream = conn:stream()
        local a, b = stream:read("*l", 4)
        stream:write("[", a, "][", b, "]")
        stream:write("[", stream:read("*L"), "]")
        for line in stream:lines() do
          if line == "." then break end
          stream:write("(", line, ")")
        end
        stream:write("[", stream:read("*a"), "]")
        stream:flush()
        stream:write(tostring(stream:read("*l")))
        stream:close()
    """)
    peer.send("line\nfour rest\n1\n2\n.\nall\nthat\nis left").half_close()
    assert peer.rest() == b"[line][four][ rest\n](1)(2)[all\nthat\nis left]nil"


# ---- the bookkeeping ----


def test_bytes_in_and_out_are_counted(serve):
    peer = serve("""
        local data = conn:reader():read_exactly(5000)
        conn:write(data)
        conn:flush()
        conn:write(conn.bytes_in, " ", conn.bytes_out, "\\n")
    """)
    peer.ask(LONG)
    assert peer.line() == "5000 5000"


def test_peek_far_beyond_the_high_water_mark(zerg):
    """A script that wants three megabytes in one sequence gets them; the receive goes on past the usual mark."""
    data = pattern(3 << 20)
    peer = zerg("""
        local data = conn:peek(3 * 1048576)
        conn:write(#data, "\\n", data)
    """).connect()
    sender = peer.send_in_background(data)
    assert peer.line() == str(len(data))
    assert peer.receive(len(data)) == data
    sender.join()


def test_reads_that_timed_out_say_so_until_more_comes(serve):
    peer = serve("""
        conn:timeout{ read = 0.05 }
        for data in conn:reads() do conn:write("unexpected") end
        conn:write(tostring(conn.reason), "\\n")
        conn:timeout{ read = 0 }
        conn:read()
        conn:write(tostring(conn.reason), "\\n")
        conn:read()
        conn:write(tostring(conn.reason), "\\n")
    """)
    assert peer.line() == "timeout"
    assert peer.send("x").line() == "nil"
    assert peer.half_close().line() == "closed"


def test_pairs_walks_pieces_and_bytes(serve):
    peer = serve("""
        local parts, codes = {}, {}
        for index, view in pairs(conn:peek(6)) do parts[index] = tostring(view) end
        conn:wait()
        for index, byte in pairs(conn:next_view()) do codes[index] = byte end
        conn:write(table.concat(parts), " ", string.char(unpack(codes)), "\\n")
    """)
    assert peer.send("abcdef").line() == "abcdef abcdef"


def test_options_that_do_not_exist_are_refused(serve):
    peer = serve("""
        for _, name in ipairs{ "reader", "stream" } do
          local ok, message = pcall(function() conn[name](conn, { mx = 0 }) end)
          conn:write(message, "\\n")
        end
    """)
    for name in ("reader", "stream"):
        assert re.search(rf"handler.lua:4: conn:{name}: unknown option 'mx'", peer.line())
