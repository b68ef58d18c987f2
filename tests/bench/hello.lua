-- The HTTP handler that benchmarks load: the smallest whole answer.
return function(_, res)
  res:send("hello, world\n")
end
