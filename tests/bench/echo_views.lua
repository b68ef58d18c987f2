-- Echo from the metal up, one write for each received piece: `run --handler tests/bench/echo_views.lua`.
return function(conn)
  while conn:wait() do
    for view in conn:views() do
      conn:write(view)
      view:release()
    end
  end
end
