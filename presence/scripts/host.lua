-- Prelude of the scripts on the ports of one relay host, all in one slot:
--   host     string  "lo-hi id started heartbeat", then " left" when it grants
--                    nothing more; expires when the heartbeats stop
--   ports    hash    port -> "granted login"
--   logins   hash    login -> port
--   idle     zset    port by last use, for those that are not held
--   held     zset    port by the end of its hold
--   blocked  zset    port by the end of its block
--   used     bitmap  bit = port: granted, blocked or bad
local host, ports, logins, idle, held, blocked, used = unpack(KEYS)

-- record is the host's: lo, hi, id, whether it left; nothing when it is gone.
local function record()
  local v = redis.call('GET', host)
  if not v then return nil end
  local lo, hi, id, rest = string.match(v, '^(%d+)-(%d+) (%S+) %d+ %d+(.*)$')
  if not lo then return nil end
  return tonumber(lo), tonumber(hi), id, rest == ' left', v
end

local function owner(port)
  local v = redis.call('HGET', ports, port)
  if not v then return nil end
  local at = string.find(v, ' ', 1, true)
  return string.sub(v, at + 1), string.sub(v, 1, at - 1)
end

-- view is a grant as a reply: port, login, granted, last use, 1 if held.
local function view(port, hold)
  local login, granted = owner(port)
  local last = redis.call('ZSCORE', held, port)
  local on = 0
  if last then
    if tonumber(last) > now then on = 1 end
    last = last - hold
  else
    last = tonumber(redis.call('ZSCORE', idle, port) or granted)
  end
  return {tonumber(port), login, tonumber(granted), last, on}
end

local function drop(port)
  local login = owner(port)
  redis.call('HDEL', ports, port)
  redis.call('ZREM', idle, port)
  redis.call('ZREM', held, port)
  redis.call('SETBIT', used, port, 0)
  if login and redis.call('HGET', logins, login) == tostring(port) then
    redis.call('HDEL', logins, login)
  end
end

local function assign(port, login, granted, last)
  redis.call('HSET', ports, port, granted .. ' ' .. login)
  redis.call('HSET', logins, login, port)
  redis.call('ZADD', idle, last, port)
  redis.call('SETBIT', used, port, 1)
end

-- keep gives every key of the host a new lease.
local function keep(lease)
  for i = 2, #KEYS do redis.call('PEXPIRE', KEYS[i], lease) end
end
