-- Notes which logins were seen last, for listings. KEYS[1]: zset login by time.
-- ARGV: lease (ms), most logins, then login and time since seen (ms) of each.
for i = 3, #ARGV, 2 do redis.call('ZADD', KEYS[1], now - ARGV[i + 1], ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now, '+inf') -- from before the clock was set back
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 'ok'
