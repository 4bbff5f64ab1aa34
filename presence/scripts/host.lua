-- Prelude of the scripts on the ports of one relay host, all in one slot:
--   host     string  "lo-hi id started heartbeat", then " left" when it grants
--                    nothing more; expires when the heartbeats stop
--   ports    hash    port -> "granted login"
--   logins   hash    login -> "port granted": a renewal reads nothing else
--   idle     zset    port by last use, for those that are not held
--   held     zset    port by the end of its hold, for the others
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

-- place is where a login has its grant: port, granted.
local function place(login)
  local v = redis.call('HGET', logins, login)
  if not v then return nil end
  return string.match(v, '^(%d+) (%d+)$')
end

-- reply is a grant: one string, as Redis converts a table slowly.
local function reply(port, granted, last, on, login)
  return port .. ' ' .. granted .. ' ' .. last .. ' ' .. on .. ' ' .. login
end

-- view is the reply for a port, or nil when it has no live grant.
local function view(port, lease, hold)
  local login, granted = owner(port)
  if not login then return nil end
  local last = redis.call('ZSCORE', idle, port)
  if not last then
    local till = redis.call('ZSCORE', held, port)
    last = till and till - hold or granted
    if till and tonumber(till) > now then return reply(port, granted, last, 1, login) end
  end
  if last + lease < now then return nil end
  return reply(port, granted, last, 0, login)
end

local function drop(port)
  local login = owner(port)
  redis.call('HDEL', ports, port)
  redis.call('ZREM', idle, port)
  redis.call('ZREM', held, port)
  redis.call('SETBIT', used, port, 0)
  if login and place(login) == port then redis.call('HDEL', logins, login) end
end

-- claim says whether a port was free, which it is no more.
local function claim(port)
  return redis.call('SETBIT', used, port, 1) == 0
end

-- assign grants a port that was claimed.
local function assign(port, login, granted, last)
  redis.call('HSET', ports, port, granted .. ' ' .. login)
  redis.call('HSET', logins, login, port .. ' ' .. granted)
  redis.call('ZADD', idle, last, port)
end

-- keep gives every key of the host a new lease.
local function keep(lease)
  for i = 2, #KEYS do redis.call('PEXPIRE', KEYS[i], lease) end
end
