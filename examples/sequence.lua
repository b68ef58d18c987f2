-- Sequences: numbers the lines of what comes in, like `cat -n`.
--
--   zerg examples/sequence.lua
--   printf 'one\ntwo\nthree\n' | nc -q 1 127.0.0.1 8080
--
-- read() gives all bytes received so far as one sequence, however many buffers they lie in. find(),
-- sub(), byte() and slice() count positions from 1, as with strings, and look across the borders
-- between buffers; slice() makes a smaller sequence of the same bytes without copying them.

return function(conn)
  local number, is_line_start = 0, true
  for data in conn:reads() do
    local from = 1
    while from <= #data do
      if is_line_start then
        number = number + 1
        conn:write(number, "\t")
      end
      local newline = data:find("\n", from)
      local to = newline or #data -- a line may go on in what read() gives next
      conn:write(data:slice(from, to))
      is_line_start = newline ~= nil
      from = to + 1
    end
    -- `data` is borrowed: the next read() takes it back. What must live longer is kept by
    -- data:retain(), or as a string of its own, tostring(data).
  end
end
