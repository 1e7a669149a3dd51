-- Publishes words: each goes into the stream, for those who listen, and into the hash, for those who come later.
--
-- KEYS[1] stream
-- KEYS[2] hash: subject -> "<said> <lasts> <worker> <value>"; no subject but the bulletin's own are '' -> its name, and
--         '#' -> how many words there were. Each word carries its number, so that who misses one notices
-- ARGV[1] the worker's id
-- ARGV[2] entries that the stream keeps, about
-- ARGV[3] subjects that the hash keeps; further ones are told and not kept
-- ARGV[4] milliseconds after which both are gone when no worker is there
-- then for each word: subject, value, age in milliseconds, milliseconds for which it is of use (0: not kept), and 1 when
-- it is said again, so that any word of another that is there is newer
--
-- Times are milliseconds since 1970 by this server's clock.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room = tonumber(ARGV[3]) - redis.call('HLEN', KEYS[2])
for i = 5, #ARGV, 5 do
  local subject, value, lasts = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local known = redis.call('HEXISTS', KEYS[2], subject) == 1
  if not (known and ARGV[i + 4] == '1') then
    local said = string.format('%.0f', now - ARGV[i + 2])
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'worker', ARGV[1], 'subject', subject, 'value', value,
      'said', said, 'number', redis.call('HINCRBY', KEYS[2], '#', 1))
    if lasts == '0' then
      redis.call('HDEL', KEYS[2], subject)
    elseif known or room > 0 then
      room = room - redis.call('HSET', KEYS[2], subject, said .. ' ' .. lasts .. ' ' .. ARGV[1] .. ' ' .. value)
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
