"""Methods of a connection that are called with a dot, and nil in its place."""

import pytest


@pytest.mark.parametrize("call", [
    "timeout(nil, { read = 1 })", "on_close(nil, print)", "wait(nil)", "next_view(nil)", "read(nil)", "peek(nil)",
    "reader(nil)", "stream(nil)", "write(nil, 'x')", "write(nil, 'x', 'y')", "write(nil, 1, 2, 3, 4, 5, 6, 7, 8, 9)",
    "send(nil, 'x')", "flush(nil)", "reserve(nil, 5)", "commit(nil, 5)", "shutdown(nil)", "close(nil)", "abort(nil)",
    "keepalive(nil)", "relay(nil, conn, 5)", "forward(nil, conn)", "forward(nil, 'a:1')",
    "forward(nil, conn, { filter = {} })", "forward(nil, 'a:1', { filter = {} })",
])
def test_a_method_without_its_connection(zerg, call):
    """FFI makes NULL of nil."""
    name = call.split("(")[0]
    server = zerg(f"local ok, err = pcall(function()\nconn.{call} return 0\nend)\nconn:write(tostring(err), '\\n')")
    answer = server.connect().line()
    assert answer.endswith(f"handler.lua:4: conn:{name}: expected a connection as self: call it with a colon")


def test_iterators_without_their_connection(zerg):
    server = zerg("""for _, name in ipairs { "reads", "views" } do
        conn:write(select(2, pcall(function() for _ in conn[name](nil) do end end)), "\\n")
    end""")
    client = server.connect()
    assert "conn:read: expected a connection as self" in client.line()
    assert "conn:next_view: expected a connection as self" in client.line()
