-- Lists the devices whose heartbeat is recent: id, "heartbeat connected json", …
-- KEYS[1]: the hash. ARGV: time to live (ms).
local all, on = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if string.match(all[i + 1], '^%d+') + tonumber(ARGV[1]) >= now then
    on[#on + 1] = all[i]
    on[#on + 1] = all[i + 1]
  end
end
return on
