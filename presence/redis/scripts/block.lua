-- Takes a port away from its login and skips it for a time.
-- ARGV: login, port, time (ms), lease of the keys (ms).
local login, port = ARGV[1], ARGV[2]
if owner(port) ~= login then return 'none' end
drop(port)
redis.call('ZADD', blocked, now + tonumber(ARGV[3]), port)
redis.call('SETBIT', used, port, 1)
keep(ARGV[4])
return 'ok'
