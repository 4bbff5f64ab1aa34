-- Finds a live grant by "login" or by "port".
-- ARGV: by what, its value, lease, hold (ms). Reply: the grant, or nothing.
local port = ARGV[2]
if ARGV[1] == 'login' then port = place(port) end
return port and view(port, ARGV[3], ARGV[4])
