-- The echo handler that benchmarks load: the way a script author would write it.
return function(conn)
  for data in conn:reads() do
    conn:write(data)
  end
end
