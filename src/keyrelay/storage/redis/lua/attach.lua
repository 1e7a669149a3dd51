-- Make somebody a member of a partition; begin a new epoch if counts were lost: the state is gone, or the server is
-- another one or was started anew, and nobody knows how much of it came through.
--
-- ARGV: member, run of the server, epoch to begin, silent_us, expiry_us, epoch that the member knows, its workers and rank,
-- whether its predecessors are accounted for, what their ids begin with (theirs are lower), members that it knows (packed: {id, workers,
-- rank}), valid_until_us. Answers {epoch, time_us, open, when predecessors that
-- are accounted for were last seen, or 0}; {-2, time_us}: too late.

local me, run, known_epoch = ARGV[1], ARGV[2], ARGV[6]
local now = now_us()
if now > tonumber(ARGV[12]) then return {-2, now} end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'open')
local epoch, open = state[1], state[3] == '1'
if not epoch or state[2] ~= run then
  epoch, open = ARGV[3], false
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', run, 'open', '0', 'begun_us', now, 'swept_us', now,
    'attended_us', now, 'quiet', '', 'silent_us', ARGV[4], 'expiry_us', ARGV[5], 'order', 0)
end
local base = base_of(KEYS[1], epoch)
local roster = base .. 'roster'

local function joined(id, seen, workers, rank)
  local order = redis.call('HINCRBY', KEYS[1], 'order', 1)
  write_member(base, {order, seen, workers, rank, 0, id})
end

if known_epoch ~= epoch and not open then
  -- Those whom it knows from before are members, with the share that they may be using, whether they come or not.
  for _, known in ipairs(cmsgpack.unpack(ARGV[11])) do
    if known[1] ~= me and redis.call('HEXISTS', roster, known[1]) == 0 then joined(known[1], 0, known[2], known[3]) end
  end
  if known_epoch ~= '' then redis.call('HSET', KEYS[1], 'remembered', '1') end
end
local mine = redis.call('HGET', roster, me)
if mine then
  mine = cmsgpack.unpack(mine)
  write_member(base, {mine[1], now, tonumber(ARGV[7]), tonumber(ARGV[8]), 0, me})
else
  joined(me, now, tonumber(ARGV[7]), tonumber(ARGV[8]))
end
local seen = 0
for _, member in ipairs(members_of(base)) do
  if member[6] < me and string.sub(member[6], 1, #ARGV[10]) == ARGV[10] then
    if ARGV[9] == '1' then
      seen = math.max(seen, member[2])  -- forgotten with a sign of life, once what it used is told
    else
      drop(base, member[6], true, now)
    end
  end
end
sweep(KEYS[1], base, now)
return {epoch, now, open and 1 or 0, seen}
