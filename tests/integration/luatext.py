"""Lua source for the server under test: Python values as literals, and handler files around a few statements."""

import re
import textwrap


class Lua(str):
    """Lua source that goes into a configuration as it stands (a handler function, an expression)."""


_IDENTIFIER = re.compile(r"^[A-Za-z_]\w*$")


def literal(value):
    """A Python value as a Lua literal; dicts and lists become tables."""
    if isinstance(value, Lua):
        return str(value)
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(_escaped(c) for c in value) + '"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {literal(v)}" for k, v in value.items()) + " }"
    return "{ " + ", ".join(literal(v) for v in value) + " }"


def _escaped(char):
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else "".join(f"\\{byte:03d}" for byte in char.encode())


def _key(key):
    return key if _IDENTIFIER.match(key) else f"[{literal(key)}]"


FIRST_BODY_LINE = 3  # of the statements in a file made by handler()


def handler(body, top=""):
    """A handler file: `top` on line 1, the statements of `body` (with zerg, conn, state in sight) from line 3."""
    body = textwrap.dedent(body).strip("\n")
    top = " ".join(textwrap.dedent(top).split("\n")).strip()
    return f'local zerg = require "zerg" {top}\nreturn function(conn, state)\n{body}\nend\n'


def config(listeners, options):
    """zerg.lua with these listeners and top-level keys."""
    lines = [f"  {_key(key)} = {literal(value)}," for key, value in options.items()]
    rows = "".join(f"    {literal(listener)},\n" for listener in listeners)
    return "return {\n" + "\n".join(lines) + "\n  listeners = {\n" + rows + "  },\n}\n"


ECHO = "for data in conn:reads() do conn:write(data) end"

# Answers every line with itself, read through the pipe adapter.
ECHO_LINES = """
local reader = conn:reader()
while true do
  local line = reader:read_line()
  if not line then return end
  conn:write(tostring(line), "\\n")
end
"""
