-- Notes the relay hosts that there are, for listings. KEYS[1]: zset host name by
-- last heartbeat. ARGV: lease (ms), most hosts, names.
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], now, ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 'ok'
