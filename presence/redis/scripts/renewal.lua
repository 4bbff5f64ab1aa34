-- Prelude of the scripts that renew grants, after host.lua.
local lo, hi, id, left = record()

local function inside(port)
  return tonumber(port) >= lo and tonumber(port) <= hi
end

-- renew renews the grant of a login; it returns the reply, or nil when there is
-- none.
local function renew(login, hold)
  local port, granted = place(login)
  if not port then return nil end
  local till = redis.call('ZSCORE', held, port)
  if till and tonumber(till) > now then return 'renewed ' .. reply(port, granted, till - hold, '1', login) end
  if till then
    redis.call('ZREM', held, port)
  elseif not inside(port) then
    drop(port) -- the operator moved the range
    return nil
  end
  redis.call('ZADD', idle, stamp, port)
  return 'renewed ' .. reply(port, granted, stamp, '0', login)
end
