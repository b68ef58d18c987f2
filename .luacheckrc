-- What `make check` asks of Lua: no globals, nothing unused, lines of at most 100 columns.
std = "luajit"
max_line_length = 100
unused_args = false -- a callback names what it gets
ignore = { "581" } -- `not (x >= 1)` also refuses a NaN, which `x < 1` does not
files["tests/spec"] = { std = "luajit+busted" }
