-- Keeps values of one client, and lets go of the oldest until what it has there fits.
--
-- KEYS[1] what all keys of the client begin with, `{prefix:state:<client>}`; the others lie in the same hash slot:
--   :<name>  string  a sealed value; one byte, 0: it was deleted
--   :index   zset    name -> microseconds since 1970, by this server's clock, at which it expires
--   :sizes   hash    name -> bytes that it counts for; '' -> their sum
-- ARGV[1] milliseconds for which the values are kept
-- ARGV[2] bytes that the client may have
-- ARGV[3] bytes that a value counts for beside itself
-- ARGV[4], ARGV[5] and so on: a name and its value; there may be none
--
-- Returns: bytes that the client has now.
local KEEP_MS = 60000        -- how long the tables outlive the last value
local base, ttl_ms, most, extra = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local index, sizes = base .. ':index', base .. ':sizes'
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local total = tonumber(redis.call('HGET', sizes, '') or 0)

local function forget(name)
  total = total - tonumber(redis.call('HGET', sizes, name) or 0)
  redis.call('HDEL', sizes, name)
  redis.call('ZREM', index, name)
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now_us, 'LIMIT', 0, 1000)) do
  forget(name)
end
for i = 4, #ARGV, 2 do
  local name, value = ARGV[i], ARGV[i + 1]
  local size = #value + extra
  forget(name)
  redis.call('SET', base .. ':' .. name, value, 'PX', ttl_ms)
  redis.call('HSET', sizes, name, size)
  redis.call('ZADD', index, now_us + ttl_ms * 1000 + i, name)  -- in the order in which they came
  total = total + size
end
while total > most do
  local oldest = redis.call('ZRANGE', index, 0, 0)[1]
  if not oldest then
    total = 0
    break
  end
  redis.call('UNLINK', base .. ':' .. oldest)
  forget(oldest)
end
redis.call('HSET', sizes, '', string.format('%.0f', total))
for _, key in ipairs({index, sizes}) do
  redis.call('PEXPIRE', key, math.max(redis.call('PTTL', key), ttl_ms + KEEP_MS))
end
return total
