-- Records a device or its heartbeat. KEYS[2]: hash id -> "heartbeat connected json".
-- ARGV: address json, its time to live, device id, json, time since connected
--       or -1, its time to live (ms), most devices.
see(now, ARGV[1], ARGV[2])
local id, since, ttl = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
local connected = now - since
local old = redis.call('HGET', KEYS[2], id)
if since < 0 then
  connected = now
  if old then
    local beat, before = string.match(old, '^(%d+) (%d+) ')
    if beat + ttl >= now then connected = before end
  end
end
if not old and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[7]) then
  local all, first, oldest = redis.call('HGETALL', KEYS[2]), nil, nil
  for i = 1, #all, 2 do
    local beat = tonumber(string.match(all[i + 1], '^%d+'))
    if not oldest or beat < oldest then first, oldest = all[i], beat end
  end
  redis.call('HDEL', KEYS[2], first)
end
redis.call('HSET', KEYS[2], id, now .. ' ' .. connected .. ' ' .. ARGV[4])
redis.call('PEXPIRE', KEYS[2], ttl)
return 'ok'
