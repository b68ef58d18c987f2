-- raises(fn, pattern): fn must raise a message that matches, with its position (which luassert's
-- own error assertions strip).

return function(fn, pattern)
  local ok, message = pcall(fn)
  if ok then
    error("expected an error that matches " .. pattern .. ", none was raised", 2)
  elseif not tostring(message):find(pattern) then
    error("expected an error that matches " .. pattern .. ", got " .. tostring(message), 2)
  end
end
