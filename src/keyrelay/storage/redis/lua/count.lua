-- Count what was used without asking: on a member's own word, before counts were lost, or by somebody else.
--
-- ARGV: member, epoch, seq, list (packed) of {key, kind, first, second, uses, stored, at_least}: `uses` a list of
-- {bound_us, amounts}, of leases of {until_us, lease}; `stored` how much of that is in the store too; `at_least` what the
-- provider says is used (-1: it does not). Answers 1, or -1 when the epoch is over.

local me, epoch, seq = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('HGET', KEYS[1], 'epoch') ~= epoch then return -1 end
if seen_before(base_of(KEYS[1], epoch), me, seq) then return 1 end
local now = now_us()
for _, entry in ipairs(cmsgpack.unpack(ARGV[4])) do
  local key, kind, first, second, uses, stored, at_least = unpack(entry, 1, 7)
  for _, use in ipairs(uses) do
    if kind == CONCURRENT then
      redis.call('ZADD', key .. ':z', use[1], use[2])
    elseif kind ~= ROLLING or use[1] + first > now then
      count_in(key, kind, second, use[1], use[2])
    end
  end
  if not nothing(stored) then
    redis.call('HSET', key, 'r', cmsgpack.pack(add(unpacked(redis.call('HGET', key, 'r')), stored, 1)))
  end
  if #at_least == 6 and kind ~= CONCURRENT then
    if kind == ROLLING then prune(key, kind, first, second, now) end
    local totals, missing = unpacked(redis.call('HGET', key, 't')), {0, 0, 0, 0, 0, 0}
    for unit = 1, 6 do
      if at_least[unit] > totals[unit] then missing[unit] = at_least[unit] - totals[unit] end
    end
    if not nothing(missing) then count_in(key, kind, second, now, missing) end
  end
  keep(key, kind, first, second, now)
end
return 1
