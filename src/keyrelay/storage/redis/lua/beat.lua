-- A sign of life. Gives the member its share, what it may use by itself, and what is used by all.
--
-- ARGV: member, epoch, workers and rank that it reckons with, its word (see common.lua), barrier_us, windows (packed) of
-- {key, kind, first, second, set_aside, limits, wants}, leases (packed) of {key, length_us, ids}, valid_until_us,
-- what the ids of predecessors begin with that are forgotten now, or nothing.
-- Answers -1 when the epoch is over, -2 when it came too late; else packed {time_us, open, build, workers, rank, members, windows, tight}: `build`
-- says that this member is to open the partition; a window is {used, set_aside}, in the order asked; `tight` lists keys.
--
-- Shares. A member reckons with a pair (workers, rank). A share falls with either, so a pair may be exchanged for one that is
-- higher in both at any time; for any other only while all others have pairs at least as high as the roster says. So all
-- shares together never exceed the whole, whoever has heard of a change and who has not.
-- What is set aside. Never more than a share, and everything set aside fits beside what is used.

local me, epoch = ARGV[1], ARGV[2]
local state = redis.call('HMGET', KEYS[1], 'epoch', 'open', 'begun_us', 'builder', 'builder_until_us', 'remembered')
if state[1] ~= epoch then return -1 end
local now = now_us()
if now > tonumber(ARGV[9]) then return -2 end
local base = base_of(KEYS[1], epoch)
local workers, rank = tonumber(ARGV[3]), tonumber(ARGV[4])
local open = state[2] == '1'

local function at_least(a_workers, a_rank, b_workers, b_rank)
  return a_workers == 0 or (a_workers >= b_workers and a_rank >= b_rank)
end

if ARGV[10] ~= '' then
  for _, member in ipairs(members_of(base)) do
    if member[6] < me and string.sub(member[6], 1, #ARGV[10]) == ARGV[10] then drop(base, member[6], false, now) end
  end
end
local members, mine, my_rank = members_of(base), nil, nil
for index, member in ipairs(members) do
  if member[6] == me then mine, my_rank = member, index - 1 end
end
if not mine then return -1 end
mine[2], mine[3], mine[4], mine[5] = now, workers, rank, tonumber(ARGV[5])
local target_workers, target_rank = workers, rank
if workers ~= 0 and at_least(#members, my_rank, workers, rank) then
  target_workers, target_rank = #members, my_rank
elseif workers == 0 or workers ~= #members or rank ~= my_rank then
  local free = true
  for index, other in ipairs(members) do
    free = free and (other[6] == me or at_least(other[3], other[4], #members, index - 1))
  end
  if free then
    target_workers, target_rank = #members, my_rank
    mine[3], mine[4] = target_workers, target_rank
  end
end
write_member(base, mine)
local quiet = sweep(KEYS[1], base, now)
quiet = quiet ~= '' and cmsgpack.unpack(quiet) or {}

local SHARED_OUT = 0.5 -- the part of what is free that is set aside, over all workers
local TIGHT_LISTED = 200

local function grant(key, kind, limits, totals, set_aside, own)
  for unit = 1, 6 do
    local limit = limits[unit]
    if limit > 0 then
      local others = set_aside[unit] - own[unit] + quiet_extra(key, kind, quiet, me, unit, limit)
      local free = limit - totals[unit] - others
      if #members > 1 then free = math.floor(free * SHARED_OUT / #members) end
      local most = math.min(share_of(limit, workers, rank), share_of(limit, target_workers, target_rank))
      local offer = math.min(free, most)
      if offer > own[unit] then
        set_aside[unit] = set_aside[unit] - own[unit] + offer
        own[unit] = offer
      end
    end
  end
end

local holds, results = base .. 'holds:' .. me, {}
for index, window in ipairs(cmsgpack.unpack(ARGV[7])) do
  local key, kind, first, second, sent, limits, wants = unpack(window)
  if kind == ROLLING or kind == CONCURRENT then prune(key, kind, first, second, now) end
  local values = redis.call('HMGET', key, 't', 's', 'h:' .. me)
  local totals = used_of(key, kind, values[1])
  local set_aside, own = unpacked(values[2]), unpacked(values[3])
  local before = values[3] and cmsgpack.pack(own)
  for unit = 1, 6 do
    if sent[unit] < own[unit] then
      set_aside[unit] = set_aside[unit] - own[unit] + sent[unit]
      own[unit] = sent[unit]
    end
  end
  if wants == 1 and open and not redis.call('ZSCORE', base .. 'tight', key) then
    grant(key, kind, limits, totals, set_aside, own)
  end
  local after = cmsgpack.pack(own)
  if nothing(own) then
    if before then
      redis.call('HDEL', key, 'h:' .. me)
      redis.call('HSET', key, 's', cmsgpack.pack(set_aside))
      redis.call('SREM', holds, cmsgpack.pack({key, kind, first, second}))
    end
  else
    if after ~= before then
      redis.call('HSET', key, 's', cmsgpack.pack(set_aside), 'h:' .. me, after)
      redis.call('SADD', holds, cmsgpack.pack({key, kind, first, second}))
    end
    keep(key, kind, first, second, now)
    redis.call('EXPIRE', holds, KEEP_S)
  end
  results[index] = {totals, own}
end

for _, entry in ipairs(cmsgpack.unpack(ARGV[8])) do
  for _, lease in ipairs(entry[3]) do
    redis.call('ZADD', entry[1] .. ':z', now + entry[2], lease)
  end
  redis.call('EXPIRE', entry[1] .. ':z', KEEP_S)
end

local build = 0
if not open and mine[5] > 0 then
  local all = state[6] == '1'
  for _, member in ipairs(members) do all = all and member[5] > 0 end
  local builder_gone = not state[4] or state[4] == me or now > tonumber(state[5])
  if (all or now >= state[3] + ARGV[6]) and builder_gone then
    build = 1
    redis.call('HSET', KEYS[1], 'builder', me, 'builder_until_us', now + 3000000)
  end
end

redis.call('ZREMRANGEBYSCORE', base .. 'tight', '-inf', now)
local tight = redis.call('ZRANGE', base .. 'tight', 0, TIGHT_LISTED - 1)
local known = {}
for index, member in ipairs(members) do known[index] = {member[6], member[3], member[4]} end
return cmsgpack.pack({now, open and 1 or 0, build, target_workers, target_rank, known, results, tight})
