-- Makes grants again that the host knows of, after Redis lost them or its
-- clock jumped. A conversation wins over an idle grant; otherwise whoever has
-- the port keeps it.
-- ARGV: lease of the keys, id of the host's process, then five for each: port,
--       login, time since granted, time since used, rest of the hold (ms).
local _, _, id = record()
if id and id ~= ARGV[2] then return 'taken' end
for i = 3, #ARGV, 5 do
  local port, login, rest = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 4])
  local last = now - ARGV[i + 3]
  local who, mine = owner(port), place(login)
  if who ~= login then
    local busy = who and tonumber(redis.call('ZSCORE', held, port) or 0) > now
    if rest > 0 and not busy then
      if who then drop(port) end
      if mine then drop(mine) end
      redis.call('ZREM', blocked, port)
      claim(port)
      assign(port, login, now - ARGV[i + 2], last)
      who = login
    elseif not who and not mine and claim(port) then
      assign(port, login, now - ARGV[i + 2], last)
      who = login
    end
  end
  if who == login then
    if rest > 0 then
      redis.call('ZREM', idle, port)
      redis.call('ZADD', held, now + rest, port)
    elseif not redis.call('ZSCORE', held, port) then
      redis.call('ZADD', idle, 'GT', last, port)
    end
  end
end
keep(ARGV[1])
return 'ok'
