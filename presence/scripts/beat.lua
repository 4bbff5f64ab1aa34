-- The heartbeat of a relay host. Without "announce" it says 0, and does
-- nothing, when the host had gone: what is known of its grants comes first.
-- ARGV: "lo-hi", time to live, lease of the keys (ms), "beat" or "announce", bad ports.
if ARGV[4] == 'beat' and redis.call('EXISTS', host) == 0 then return 0 end
redis.call('SET', host, ARGV[1], 'PX', ARGV[2])
for i = 5, #ARGV do redis.call('SETBIT', used, ARGV[i], 1) end
keep(ARGV[3])
return 1
