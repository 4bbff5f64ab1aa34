-- Makes a grant for a login, or renews the one that it has.
-- ARGV: login, "free" (take nothing over) or "grant", first port to try,
--       preferred port or 0, lease, hold (ms), id of the host's process.
-- Reply: what was done, then the grant.
local login, hold = ARGV[1], ARGV[6]
if not lo then return 'nohost' end
local renewed = renew(login, hold)
if renewed then return renewed end
if id ~= ARGV[7] then return 'taken' end

-- Mostly the port that is tried first is free.
local port
for i = 4, 3, -1 do
  if not port and inside(ARGV[i]) and claim(ARGV[i]) then port = ARGV[i] end
end

local what = 'new '
if not port then
  local first = inside(ARGV[3]) and tonumber(ARGV[3]) or lo

  -- The first free port of a part of the range. The bitmap is as long as its
  -- highest port: what is beyond is free.
  local function search(from, to)
    if from > to then return nil end
    local at = redis.call('BITPOS', used, 0, from, to, 'BIT')
    if at < from then at = math.max(from, redis.call('STRLEN', used) * 8) end
    if at > to then return nil end
    return at
  end

  port = search(first, hi) or search(lo, first - 1)
  if not port then
    -- What has ended becomes free again; a bounded number each time.
    for _, p in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', stamp, 'LIMIT', 0, 64)) do
      local last = redis.call('ZSCORE', held, p) - hold
      redis.call('ZREM', held, p)
      redis.call('ZADD', idle, last, p)
    end
    for _, p in ipairs(redis.call('ZRANGEBYSCORE', blocked, '-inf', stamp, 'LIMIT', 0, 64)) do
      redis.call('ZREM', blocked, p)
      redis.call('SETBIT', used, p, 0)
    end
    port = search(first, hi) or search(lo, first - 1)
  end
  if not port and ARGV[2] == 'free' then return 'full' end
  while not port do
    local oldest = redis.call('ZRANGE', idle, 0, 0, 'WITHSCORES')
    if not oldest[1] then return 'full' end
    drop(oldest[1])
    if inside(oldest[1]) then
      port = oldest[1]
      if oldest[2] + ARGV[5] > now then what = 'takeover ' end
    end
  end
  port = tostring(port)
  claim(port)
end
assign(port, login, stamp, stamp)
-- Keys that this made have no lease; those that were there have the heartbeats'.
if redis.call('ZCARD', idle) == 1 then keep(ARGV[5] + hold) end
return what .. reply(port, stamp, stamp, '0', login)
