-- Prelude of the scripts that give ports, or leases, after host.lua.

-- claim says whether a port was free, which it is no more.
local function claim(port)
  return redis.call('SETBIT', used, port, '1') == 0
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
