-- Notes how much clients have, and says how much each has.
--
-- KEYS[1] hash: client -> its bytes, and the milliseconds since 1970, by this server's clock, until which that may hold
-- ARGV[1] milliseconds for which values are kept
-- ARGV[2], ARGV[3] and so on: a client and its bytes
--
-- Returns: clients and their bytes, flat.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%s %.0f', ARGV[i + 1], now_ms + ARGV[1]))
end
local held, kept = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #held, 2 do
  local bytes, until_ms = string.match(held[i + 1], '^(%d+) (%d+)$')
  if bytes and tonumber(until_ms) > now_ms and bytes ~= '0' then
    kept[#kept + 1] = held[i]
    kept[#kept + 1] = tonumber(bytes)
  else
    redis.call('HDEL', KEYS[1], held[i])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return kept
