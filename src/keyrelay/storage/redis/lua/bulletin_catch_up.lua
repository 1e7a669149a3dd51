-- Returns what a worker that was not there must know, as of one moment, and forgets what is of no use any more.
--
-- KEYS[1] stream, KEYS[2] hash (see bulletin_publish.lua)
-- ARGV[1] a name for this bulletin, should it be new: who finds another name than before knows that all was lost
-- ARGV[2] milliseconds after which both keys are gone when no worker is there
--
-- Returns: milliseconds since 1970 by this server's clock, the name, the id of the stream's last entry, the number of
-- the last word, and the subjects of the hash with what it holds of them, flat.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSETNX', KEYS[2], '', ARGV[1])
local name = redis.call('HGET', KEYS[2], '')
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local held, kept = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #held, 2 do
  local said, lasts = string.match(held[i + 1], '^(%d+) (%d+) ')
  if said and said + lasts > now then
    kept[#kept + 1] = held[i]
    kept[#kept + 1] = held[i + 1]
  elseif held[i] ~= '' and held[i] ~= '#' then
    redis.call('HDEL', KEYS[2], held[i])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {string.format('%.0f', now), name, last[1] and last[1][1] or '0-0',
  redis.call('HGET', KEYS[2], '#') or '0', kept}
