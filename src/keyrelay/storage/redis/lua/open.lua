-- Open a partition whose counts were lost, once all have uploaded what they used.
--
-- ARGV: member, epoch, list (packed) of {key, kind, first, second, amounts}: what the store knows to be used, whoever used
-- it; "1" for the last such list. What is in the store and was not uploaded was used by workers that are gone.
-- Answers 1, or -1 when the epoch is over.

local epoch = ARGV[2]
if redis.call('HGET', KEYS[1], 'epoch') ~= epoch then return -1 end
if redis.call('HGET', KEYS[1], 'open') == '1' then return 1 end
local now = now_us()
for _, entry in ipairs(cmsgpack.unpack(ARGV[3])) do
  local key, kind, first, second, amounts = unpack(entry)
  add(amounts, unpacked(redis.call('HGET', key, 'r')), -1)
  redis.call('HSET', key, 'r', cmsgpack.pack({0, 0, 0, 0, 0, 0}))
  if not nothing(amounts) then count_in(key, kind, second, now, amounts) end
  keep(key, kind, first, second, now)
end
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'open', '1') end
return 1
