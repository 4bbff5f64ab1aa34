-- Prelude of the scripts that renew where a login was seen, KEYS[1]: "seen json".
local function see(seen, json, ttl)
  local old = redis.call('GET', KEYS[1])
  local at = old and tonumber(string.match(old, '^%d+'))
  -- A sighting in the future is from before the clock was set back.
  if at and at > seen and at <= now then return end
  local rest = seen + ttl - now
  if rest > 0 then redis.call('SET', KEYS[1], seen .. ' ' .. json, 'PX', rest) end
end
