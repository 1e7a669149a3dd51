-- Correct what was counted for a request: when it arrived at the latest, and what it really took.
--
-- ARGV: member, epoch, windows (packed, as in admit.lua), "seq bound_us new_bound_us requests input output usd_micros units
-- requests input output usd_micros units lease probes": what was taken, then what it is now; lease "-": it goes on. What
-- has left its window is not corrected. Answers 1, or -1 when the epoch is over.

local me, epoch = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[1], 'epoch') ~= epoch then return -1 end
local words = {}
for word in string.gmatch(ARGV[4], '%S+') do words[#words + 1] = word end
if seen_before(base_of(KEYS[1], epoch), me, tonumber(words[1])) then return 1 end
local bound, new_bound = tonumber(words[2]), tonumber(words[3])
local taken = {tonumber(words[4]), tonumber(words[5]), tonumber(words[6]), words[5] + words[6], tonumber(words[7]),
  tonumber(words[8])}
local used = {tonumber(words[9]), tonumber(words[10]), tonumber(words[11]), words[10] + words[11], tonumber(words[12]),
  tonumber(words[13])}
local lease = words[14]
local windows = cmsgpack.unpack(ARGV[3])
local change, changed = {}, false
for unit = 1, 6 do
  change[unit] = used[unit] - taken[unit]
  changed = changed or change[unit] ~= 0
end

local function correct(key, by)
  local text = redis.call('HGET', key, 't')
  if text then redis.call('HSET', key, 't', cmsgpack.pack(add(cmsgpack.unpack(text), by, 1))) end
end

local function move(key, span)
  local from, to = slot_of(bound, span), slot_of(new_bound, span)
  local slot = redis.call('HGET', key, from)
  if not slot then return end
  local amounts = cmsgpack.unpack(slot)
  if from == to then
    add(amounts, change, 1)
  else
    add(amounts, taken, -1)
    if not nothing(used) then put_slot(key, to, used) end
  end
  if nothing(amounts) then
    redis.call('HDEL', key, from)
    redis.call('ZREM', key .. ':z', from)
  else
    redis.call('HSET', key, from, cmsgpack.pack(amounts))
  end
  if changed then correct(key, change) end
end

for index = 2, #windows do
  local window = windows[index]
  local key, kind = window[1], window[2]
  if kind == CONCURRENT then
    if lease ~= '-' then redis.call('ZREM', key .. ':z', lease) end
  elseif kind == ROLLING then
    move(key, window[4])
  elseif kind == ONCE or bound >= window[3] then
    if changed then correct(key, change) end
    if kind == CALENDAR and bound >= window[4] then
      if new_bound < window[4] then
        correct(window[5], {-taken[1], -taken[2], -taken[3], -taken[4], -taken[5], -taken[6]})
      elseif changed then
        correct(window[5], change)
      end
    end
  end
end
for index, unit in string.gmatch(words[15] or '', 'w(%d+)%.(%d),') do
  redis.call('HDEL', windows[index + 1][1], 'p:' .. unit)
end
return 1
