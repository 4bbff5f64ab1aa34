-- Says at which relay host a login has its grant, if nobody else said otherwise
-- meanwhile. KEYS[1]: host name. ARGV: what was there, what shall be, lease (ms).
-- Reply: what is there.
local at = redis.call('GET', KEYS[1]) or ''
if at ~= ARGV[1] and at ~= ARGV[2] then return at end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
