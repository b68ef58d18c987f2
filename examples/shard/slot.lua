-- Which slot a key belongs to: the CRC16 of the key modulo 16384, as in Redis Cluster, so that
-- `redis-cli cluster keyslot KEY` knows it as well. Of a key with something in braces, only that
-- counts: {user:7}.name and {user:7}.mail are always on one shard.

local ffi = require "ffi"

local band, bxor, lshift, rshift = bit.band, bit.bxor, bit.lshift, bit.rshift
local byte, match = string.byte, string.match

local SLOTS = 16384
local POLYNOMIAL = 0x1021

local crc_of_byte = ffi.new("uint16_t[256]")
for value = 0, 255 do
  local crc = lshift(value, 8)
  for _ = 1, 8 do
    local carry = band(crc, 0x8000) ~= 0
    crc = bxor(lshift(crc, 1), carry and POLYNOMIAL or 0)
  end
  crc_of_byte[value] = band(crc, 0xffff)
end

---@param key string
---@return integer slot from 0
local function of(key)
  local text = match(key, "^[^{]*{([^}]+)}") or key
  local crc = 0
  for i = 1, #text do
    crc = bxor(band(lshift(crc, 8), 0xffff), crc_of_byte[bxor(rshift(crc, 8), byte(text, i))])
  end
  return crc % SLOTS
end

return { of = of, COUNT = SLOTS }
