-- "Did you mean": the known word nearest to one that is not known.

local M = {}

---Edit distance of two words, a swap of neighbours counting once; case does not count.
---@param left string
---@param right string
---@return integer
function M.distance(left, right)
  left, right = left:lower(), right:lower()
  local rows = { [0] = {} }
  for j = 0, #right do
    rows[0][j] = j
  end
  for i = 1, #left do
    local row = { [0] = i }
    rows[i] = row
    for j = 1, #right do
      local change = left:byte(i) == right:byte(j) and 0 or 1
      local best = math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + change)
      if i > 1 and j > 1 and left:sub(i - 1, i) == right:sub(j - 1, j):reverse() then
        best = math.min(best, rows[i - 2][j - 2] + 1)
      end
      row[j] = best
    end
  end
  return rows[#left][#right]
end

---The word of `words` nearest to `word`, nil when none is near enough to be what was meant. The
---first of equals wins.
---@param word any
---@param words string[]
---@return string|nil
function M.of(word, words)
  if type(word) ~= "string" or #word > 64 then
    return nil
  end
  local found, least = nil, math.huge
  for _, candidate in ipairs(words) do
    local distance = M.distance(word, candidate)
    local allowed = math.max(1, math.floor(math.max(#word, #candidate) / 3))
    if distance <= allowed and distance < least then
      found, least = candidate, distance
    end
  end
  return found
end

return M
