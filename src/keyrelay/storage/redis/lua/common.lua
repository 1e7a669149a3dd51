-- What all scripts share: it is put before each of them.
--
-- Units. Times are microseconds since 1970 by this server's clock, lengths and spans microseconds. Amounts are lists of
-- six whole numbers: requests, input tokens, output tokens, all tokens, millionths of a US dollar, provider's units.
--
-- KEYS[1] is the state of a partition (all that concerns one provider), `{prefix:provider}:state`; every other key begins
-- with `{prefix:provider}:<epoch>:` and so lies in the same hash slot. The epoch changes when counts were lost.
--   state      hash   epoch, run (of the server), open, begun_us, swept_us, attended_us, quiet (silent members), order
--   :roster    hash   member -> {order, seen_us, workers, rank, word}; workers 0: it has no share yet. word 0: it has
--                     not said yet what it used, 1: it has, 2: and it uses nothing any more without asking
--   :seq       hash   member -> number of its last command that was carried out
--   :tight     zset   windows in which somebody was refused because of what others have set aside -> until_us
--   :holds:ID  set    windows in which the member has something set aside
--   :w:ID      hash   one window: t totals, s sum of what is set aside, h:MEMBER what it has set aside, and of a rolling
--                     window for each slot its number -> amounts. A slot holds what came within one span; number n ends
--                     at n * span_us. r is what uploads say is in the store too, p:UNIT until when a probe is under way.
--   :w:ID:z    zset   rolling: numbers of slots; concurrent: leases -> until_us

local KEEP_S = 7200          -- how long keys outlive what they count
local ONCE_KEEP_S = 34560000 -- 400 days
local STALE_SWEEP_US = 1000000
local ROLLING, CALENDAR, ONCE, CONCURRENT = 1, 2, 3, 4

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function unpacked(text)
  if text then return cmsgpack.unpack(text) end
  return {0, 0, 0, 0, 0, 0}
end

local function add(to, amounts, sign)
  for unit = 1, 6 do
    to[unit] = math.max(0, to[unit] + sign * amounts[unit])
  end
  return to
end

local function nothing(amounts)
  for unit = 1, 6 do
    if amounts[unit] ~= 0 then return false end
  end
  return true
end

local function base_of(state_key, epoch)
  return string.sub(state_key, 1, -6) .. epoch .. ':'  -- without `state`
end

local function slot_of(bound_us, span_us)
  return math.floor(bound_us / span_us) + 1
end

-- Keep a window's keys for as long as they may be asked for.
local function keep(key, kind, first, second, now)
  local seconds = KEEP_S
  if kind == ROLLING then
    seconds = math.ceil(first / 1000000) + KEEP_S
  elseif kind == CALENDAR then
    seconds = math.ceil(math.max(0, second - now) / 1000000) + KEEP_S
  elseif kind == ONCE then
    seconds = ONCE_KEEP_S
  end
  redis.call('EXPIRE', key, seconds)
  if kind == ROLLING or kind == CONCURRENT then redis.call('EXPIRE', key .. ':z', seconds) end
end

-- Let go of the slots of a rolling window, or of the leases, whose time has passed.
local function prune(key, kind, first, second, now)
  if kind == CONCURRENT then
    redis.call('ZREMRANGEBYSCORE', key .. ':z', '-inf', now)
    return
  end
  local last = math.floor((now - first) / second)
  while true do
    local gone = redis.call('ZRANGEBYSCORE', key .. ':z', '-inf', last, 'LIMIT', 0, 100)
    if #gone == 0 then return end
    local totals = unpacked(redis.call('HGET', key, 't'))
    for _, slot in ipairs(redis.call('HMGET', key, unpack(gone))) do
      if slot then add(totals, cmsgpack.unpack(slot), -1) end
    end
    redis.call('HSET', key, 't', cmsgpack.pack(totals))
    redis.call('HDEL', key, unpack(gone))
    redis.call('ZREM', key .. ':z', unpack(gone))
  end
end

-- What is used of a window, pruned before; `text` is its field t.
local function used_of(key, kind, text)
  if kind == CONCURRENT then return {redis.call('ZCARD', key .. ':z'), 0, 0, 0, 0, 0} end
  return unpacked(text)
end

local function put_slot(key, number, amounts)
  local text = redis.call('HGET', key, number)
  if not text then redis.call('ZADD', key .. ':z', number, number) end
  redis.call('HSET', key, number, cmsgpack.pack(add(unpacked(text), amounts, 1)))
end

-- Count amounts whose bound is given, unconditionally. Of leases only those are counted that are named.
local function count_in(key, kind, span_us, bound_us, amounts)
  if kind == CONCURRENT then return end
  if kind == ROLLING then put_slot(key, slot_of(bound_us, span_us), amounts) end
  redis.call('HSET', key, 't', cmsgpack.pack(add(unpacked(redis.call('HGET', key, 't')), amounts, 1)))
end

-- The share of `limit` of the member of that rank, ranks counted from 0: over all ranks they make the whole.
local function share_of(limit, workers, rank)
  if workers == 0 or limit <= rank then return 0 end
  return math.ceil((limit - rank) / workers)
end

-- What members that are silent, or go by their own word, may be using of a limit without asking, beyond what is set aside for them anyway.
local function quiet_extra(key, kind, quiet, me, unit, limit)
  local extra = 0
  if kind == ONCE then return 0 end
  for _, member in ipairs(quiet) do
    if member[1] ~= me then
      local held = unpacked(redis.call('HGET', key, 'h:' .. member[1]))
      extra = extra + math.max(0, share_of(limit, member[2], member[3]) - held[unit])
    end
  end
  return extra
end

-- Forget a member. With `convert` what it had set aside counts as used, for it may have been used unreported.
local function drop(base, id, convert, now)
  local holds = base .. 'holds:' .. id
  for _, item in ipairs(redis.call('SMEMBERS', holds)) do
    local key, kind, first, second = unpack(cmsgpack.unpack(item))
    local values = redis.call('HMGET', key, 's', 'h:' .. id)
    if values[2] then
      local held = cmsgpack.unpack(values[2])
      redis.call('HSET', key, 's', cmsgpack.pack(add(unpacked(values[1]), held, -1)))
      redis.call('HDEL', key, 'h:' .. id)
      if convert and not nothing(held) then count_in(key, kind, second, now, held) end
    end
  end
  redis.call('DEL', holds)
  redis.call('HDEL', base .. 'roster', id)
  redis.call('HDEL', base .. 'seq', id)
end

-- The members in the order in which they came, each with its id as sixth.
local function members_of(base)
  local flat, members = redis.call('HGETALL', base .. 'roster'), {}
  for i = 1, #flat, 2 do
    local member = cmsgpack.unpack(flat[i + 1])
    member[6] = flat[i]
    members[#members + 1] = member
  end
  table.sort(members, function(a, b) return a[1] < b[1] end)
  return members
end

local function write_member(base, member)
  redis.call('HSET', base .. 'roster', member[6],
    cmsgpack.pack({member[1], member[2], member[3], member[4], member[5]}))
end

-- See who has fallen silent or goes by its own word (`quiet`), and let go of those who have been for so long, while others were there, that they are dead.
local function sweep(state_key, base, now)
  local values = redis.call('HMGET', state_key, 'swept_us', 'attended_us', 'silent_us', 'expiry_us')
  local swept, attended = tonumber(values[1]), tonumber(values[2])
  local silent, expiry = tonumber(values[3]), tonumber(values[4])
  if now - swept > silent or now < swept then attended = now end
  local quiet = {}
  for _, member in ipairs(members_of(base)) do
    if now - math.max(member[2], attended) > expiry then
      drop(base, member[6], true, now)
    elseif member[5] ~= 2 or now - member[2] > silent then
      quiet[#quiet + 1] = {member[6], member[3], member[4]}
    end
  end
  local text = #quiet > 0 and cmsgpack.pack(quiet) or ''
  redis.call('HSET', state_key, 'swept_us', now, 'attended_us', attended, 'quiet', text)
  for _, name in ipairs({'roster', 'seq'}) do
    redis.call('EXPIRE', base .. name, KEEP_S)
  end
  redis.call('EXPIRE', state_key, KEEP_S / 2)
  return text
end

-- Whether this command was carried out before, when it was sent a first time and its answer was lost.
local function seen_before(base, me, seq)
  local last = redis.call('HGET', base .. 'seq', me)
  if last and tonumber(last) >= seq then return true end
  redis.call('HSET', base .. 'seq', me, seq)
  return false
end
