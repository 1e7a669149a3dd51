-- Whether the bulletin is still the one it was, and what time it is there.
--
-- KEYS[1] stream, KEYS[2] hash (see bulletin_publish.lua)
-- ARGV[1] milliseconds after which both keys are gone when no worker is there
--
-- Returns: milliseconds since 1970 by this server's clock, the bulletin's name or nil.
local time = redis.call('TIME')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return {string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), redis.call('HGET', KEYS[2], '')}
