-- Holds a port for a live conversation, or releases it.
-- ARGV: login, port, hold (ms, 0 releases), lease of the keys (ms).
local login, port, hold = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not record() then return 'nohost' end
if owner(port) ~= login then return 'none' end
if hold > 0 then
  redis.call('ZREM', idle, port)
  redis.call('ZADD', held, now + hold, port)
  redis.call('PEXPIRE', held, ARGV[4])
else
  redis.call('ZREM', held, port)
  redis.call('ZADD', idle, now, port)
  redis.call('PEXPIRE', idle, ARGV[4])
end
return 'ok'
