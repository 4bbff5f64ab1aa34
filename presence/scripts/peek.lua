-- Finds a live grant by "login" or by "port".
-- ARGV: by what, its value, lease, hold (ms). Reply: the grant, or nothing.
local port = ARGV[2]
if ARGV[1] == 'login' then port = redis.call('HGET', logins, ARGV[2]) end
if not port or not owner(port) then return false end
local g = view(port, tonumber(ARGV[4]))
if g[5] == 0 and g[4] + tonumber(ARGV[3]) < now then return false end
return g
