-- Admit a request at all its scopes, or at none.
--
-- ARGV: member, epoch, windows (packed), "valid_until_us requests input output usd_micros units lease probes".
-- A window is {key, kind, first, second, next_key, next_end_us, limits}: rolling: length_us, span_us; calendar: start_us,
-- end_us, and the key and end of the next period; once: expires_us or 0; concurrent: length of a lease in us. A limit of
-- -1 is none. The first of the windows stands for skew_us: how long a request may take until it arrives. `probes` names
-- the limits that this request may exceed as "w<window>.<unit>,".
--
-- Answers the time, with which it was counted; {1, time_us, window, unit, amount, ...} when of what the member had set
-- aside only those amounts are left; {0, time_us, window, unit, used, until_us}, until_us -1: never; {-1}: the epoch is
-- over or not open; {-2, time_us}: too late; {-4, time_us}: a calendar window named is not the present one.

local me, epoch = ARGV[1], ARGV[2]
local state = redis.call('HMGET', KEYS[1], 'epoch', 'open', 'swept_us', 'quiet')
if state[1] ~= epoch or state[2] ~= '1' then return {-1} end
local now = now_us()
local valid_until, requests, input, output, usd, units, lease, probes =
  string.match(ARGV[4], '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) ?(.*)$')
if now > tonumber(valid_until) then return {-2, now} end
local base = base_of(KEYS[1], epoch)
local quiet = state[4]
if math.abs(now - tonumber(state[3])) > STALE_SWEEP_US then quiet = sweep(KEYS[1], base, now) end
quiet = quiet ~= '' and cmsgpack.unpack(quiet) or {}
local windows = cmsgpack.unpack(ARGV[3])
local bound = now + windows[1]
local amounts = {tonumber(requests), tonumber(input), tonumber(output), input + output, tonumber(usd), tonumber(units)}

local TIGHT_US = 2000000    -- for so long after a refusal nobody sets anything aside there
local GIVE_BACK_US = 600000 -- by then others have given back what they had set aside
local LEASE_ENDS_US = 500000 -- a lease may end at any time: ask again then
local MOST_SLOTS = 100      -- so many slots are looked through for when something is free

-- When `excess` of a unit will have left a window; -1: never, as far as anybody knows.
local function free_at(window, key, totals, unit, excess)
  local kind, first, second = window[2], window[3], window[4]
  if kind == CALENDAR then return key == window[1] and second or window[6] end
  if kind == ONCE then return -1 end
  if kind == CONCURRENT then return now + LEASE_ENDS_US end
  local numbers = redis.call('ZRANGE', key .. ':z', 0, MOST_SLOTS - 1)
  if #numbers == 0 then return now end
  local slots = redis.call('HMGET', key, unpack(numbers))
  for i, slot in ipairs(slots) do
    excess = excess - cmsgpack.unpack(slot)[unit]
    if excess <= 0 or i == #slots then return numbers[i] * second + first end
  end
end

-- Whether the amounts fit into one window: nil and what has to be set aside less, or the refusal.
local function fits(index, window, key, totals, values)
  local kind, limits = window[2], window[7]
  local set_aside, own, lowered = unpacked(values[2]), unpacked(values[3]), nil
  local worst = nil
  for unit = 1, 6 do
    local limit, amount = limits[unit], amounts[unit]
    if limit >= 0 and not string.find(probes, 'w' .. index .. '.' .. unit .. ',', 1, true) then
      if kind == ONCE and window[3] > 0 and now >= window[3] then return {0, now, index, unit, totals[unit], -1} end
      local others = set_aside[unit] - own[unit] + quiet_extra(key, kind, quiet, me, unit, limit)
      local room = limit - totals[unit] - amount
      if room < 0 and (amount > 0 or totals[unit] > limit) then
        local free = amount > limit and -1 or free_at(window, key, totals, unit, -room)
        if not worst or free == -1 or (worst[6] ~= -1 and free > worst[6]) then
          worst = {0, now, index, unit, totals[unit], free}
        end
      elseif amount > 0 and room < others then
        redis.call('ZADD', base .. 'tight', now + TIGHT_US, key)
        redis.call('EXPIRE', base .. 'tight', KEEP_S)
        worst = worst or {0, now, index, unit, totals[unit], now + GIVE_BACK_US}
      elseif own[unit] > 0 and room < others + own[unit] then
        lowered = lowered or {}
        lowered[unit] = room - others
      end
    elseif limit >= 0 then
      local probing = redis.call('HGET', key, 'p:' .. unit)
      if probing and tonumber(probing) > now then return {0, now, index, unit, totals[unit], now + GIVE_BACK_US} end
    end
  end
  return worst, lowered
end

local found, worst = {}, nil
for index = 2, #windows do
  local window = windows[index]
  local key, kind = window[1], window[2]
  if kind == CALENDAR and (now < window[3] or now >= window[4]) then return {-4, now} end
  if kind == ROLLING or kind == CONCURRENT then prune(key, kind, window[3], window[4], now) end
  local values = redis.call('HMGET', key, 't', 's', 'h:' .. me)
  local totals = used_of(key, kind, values[1])
  local refusal, lowered = fits(index - 1, window, key, totals, values)
  local following = nil
  if not refusal and kind == CALENDAR and bound >= window[4] then
    local after = redis.call('HMGET', window[5], 't', 's', 'h:' .. me)
    following = unpacked(after[1])
    refusal = fits(index - 1, window, window[5], following, after)
  end
  if refusal and (not worst or refusal[6] == -1 or (worst[6] ~= -1 and refusal[6] > worst[6])) then worst = refusal end
  found[index] = {totals, values, lowered, following}
end
if worst then return worst end

local answer = nil
for index = 2, #windows do
  local window = windows[index]
  local key, kind = window[1], window[2]
  local totals, values, lowered, following = unpack(found[index], 1, 4)
  local fresh = not values[1]
  if kind == CONCURRENT then
    fresh = totals[1] == 0
    redis.call('ZADD', key .. ':z', now + window[3], lease)
  else
    redis.call('HSET', key, 't', cmsgpack.pack(add(totals, amounts, 1)))
    if kind == ROLLING then
      local number = slot_of(bound, window[4])
      local slot = redis.call('HGET', key, number)
      if not slot then
        redis.call('ZADD', key .. ':z', number, number)
        fresh = true
      end
      redis.call('HSET', key, number, cmsgpack.pack(add(unpacked(slot), amounts, 1)))
    end
  end
  if following then
    redis.call('HSET', window[5], 't', cmsgpack.pack(add(following, amounts, 1)))
    keep(window[5], kind, window[4], window[6], now)
  end
  if fresh then keep(key, kind, window[3], window[4], now) end
  if lowered then
    local own, set_aside = cmsgpack.unpack(values[3]), cmsgpack.unpack(values[2])
    answer = answer or {1, now}
    for unit, left in pairs(lowered) do
      set_aside[unit] = set_aside[unit] - own[unit] + left
      own[unit] = left
      for _, value in ipairs({index - 1, unit, left}) do answer[#answer + 1] = value end
    end
    redis.call('HSET', key, 's', cmsgpack.pack(set_aside), 'h:' .. me, cmsgpack.pack(own))
  end
end
for index, unit in string.gmatch(probes, 'w(%d+)%.(%d),') do
  redis.call('HSET', windows[index + 1][1], 'p:' .. unit, now + 60000000)
end
return answer or now
