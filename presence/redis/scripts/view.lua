-- Prelude of the scripts that list grants, after host.lua.

-- view is the reply for a port, or nil when it has no live grant.
local function view(port, lease, hold)
  local login, granted = owner(port)
  if not login then return nil end
  local last = redis.call('ZSCORE', idle, port)
  if not last then
    local till = redis.call('ZSCORE', held, port)
    last = till and till - hold or granted
    if till and tonumber(till) > now then return reply(port, granted, last, '1', login) end
  end
  if last + lease < now then return nil end
  return reply(port, granted, last, '0', login)
end
