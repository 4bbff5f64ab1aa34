-- Renews the grant of a login or, unless asked only to renew, makes one.
-- ARGV: login, "renew", "free" (take nothing over) or "grant", first port to try,
--       preferred port or 0, lease, hold (ms), id of the host's process.
-- Reply: what was done, then the grant, then 1 if it was taken over.
local login, first, preferred = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local lease, hold = tonumber(ARGV[5]), tonumber(ARGV[6])

local lo, hi, id, left = record()
if not lo then return {'nohost'} end
if left and ARGV[2] == 'renew' then return {'nohost'} end

local port = redis.call('HGET', logins, login)
if port then
  local n = tonumber(port)
  local till = tonumber(redis.call('ZSCORE', held, port) or nil)
  if (n >= lo and n <= hi) or till then
    local _, granted = owner(port)
    if till and till > now then return {'renewed', {n, login, tonumber(granted), till - hold, 1}, 0} end
    if till then redis.call('ZREM', held, port) end
    redis.call('ZADD', idle, now, port)
    return {'renewed', {n, login, tonumber(granted), now, 0}, 0}
  end
  drop(port) -- the operator moved the range
end
if ARGV[2] == 'renew' then return {'none'} end
if id ~= ARGV[7] then return {'taken'} end

-- What has ended becomes free again; a bounded number each time.
for _, p in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', now, 'LIMIT', 0, 64)) do
  local last = redis.call('ZSCORE', held, p) - hold
  redis.call('ZREM', held, p)
  redis.call('ZADD', idle, last, p)
end
for _, p in ipairs(redis.call('ZRANGEBYSCORE', blocked, '-inf', now, 'LIMIT', 0, 64)) do
  redis.call('ZREM', blocked, p)
  redis.call('SETBIT', used, p, 0)
end

-- The first free port of a part of the range: within p's byte, then BITPOS,
-- which answers less than p beyond the end of the bitmap.
local function search(from, to)
  local p = from
  if p <= to and p % 8 ~= 0 then
    local byte = string.byte(redis.call('GETRANGE', used, math.floor(p / 8), math.floor(p / 8))) or 0
    while p <= to do
      if math.floor(byte / 2 ^ (7 - p % 8)) % 2 == 0 then return p end
      p = p + 1
      if p % 8 == 0 then break end
    end
  end
  if p > to then return nil end
  local at = redis.call('BITPOS', used, 0, p / 8)
  if at < p then return p end
  if at <= to then return at end
  return nil
end

local taken = 0
if preferred >= lo and preferred <= hi and redis.call('GETBIT', used, preferred) == 0 then
  port = preferred
else
  if first < lo or first > hi then first = lo end
  port = search(first, hi) or search(lo, first - 1)
end
if not port and ARGV[2] == 'free' then return {'full'} end
while not port do
  local oldest = redis.call('ZRANGE', idle, 0, 0, 'WITHSCORES')
  if not oldest[1] then return {'full'} end
  drop(oldest[1])
  local n = tonumber(oldest[1])
  if n >= lo and n <= hi then
    port = n
    if oldest[2] + lease > now then taken = 1 end
  end
end
assign(port, login, now, now)
-- Keys that this made have no lease; those that were there have the heartbeats'.
if redis.call('ZCARD', idle) == 1 or redis.call('HLEN', ports) == 1 then keep(lease + hold) end
return {'new', {tonumber(port), login, now, now, 0}, taken}
