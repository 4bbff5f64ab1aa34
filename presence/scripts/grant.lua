-- Renews the grant of a login or, unless asked only to renew, makes one.
-- ARGV: login, "renew" or "grant", first port to try, preferred port or 0,
--       lease, hold (ms)
-- Reply: what was done, then the grant, then 1 if it was taken over.
local login, first, preferred = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local lease, hold = tonumber(ARGV[5]), tonumber(ARGV[6])

local range = redis.call('GET', host)
if not range then return {'nohost'} end
local lo, hi = string.match(range, '^(%d+)-(%d+)$')
lo, hi = tonumber(lo), tonumber(hi)

local port = redis.call('HGET', logins, login)
if port then
  local n = tonumber(port)
  if (n >= lo and n <= hi) or redis.call('ZSCORE', held, port) then
    redis.call('ZADD', idle, 'XX', now, port)
    return {'renewed', view(port, hold), 0}
  end
  drop(port) -- the operator moved the range
end
if ARGV[2] == 'renew' then return {'none'} end

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

-- The first free port of a part of the range: bit by bit to the next byte,
-- then BITPOS, which answers less than p beyond the end of the bitmap.
local function search(from, to)
  local p = from
  while p <= to and p % 8 ~= 0 do
    if redis.call('GETBIT', used, p) == 0 then return p end
    p = p + 1
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
keep(lease + hold)
return {'new', view(port, hold), taken}
