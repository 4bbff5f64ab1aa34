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

-- record is the host's: lo, hi, id, whether it left, all of it; nothing when it
-- is gone.
local function record()
  local v = redis.call('GET', host)
  if not v then return nil end
  local lo, hi, id = string.match(v, '^(%d+)-(%d+) (%S+)')
  if not lo then return nil end
  return tonumber(lo), tonumber(hi), id, string.sub(v, -5) == ' left', v
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

-- reply is a grant, on is '1' when it is held: one string made of strings, as
-- tables and numbers are slow to convert.
local function reply(port, granted, last, on, login)
  return port .. ' ' .. granted .. ' ' .. last .. ' ' .. on .. ' ' .. login
end

local function drop(port)
  local login = owner(port)
  redis.call('HDEL', ports, port)
  redis.call('ZREM', idle, port)
  redis.call('ZREM', held, port)
  redis.call('SETBIT', used, port, 0)
  if login and place(login) == port then redis.call('HDEL', logins, login) end
end
