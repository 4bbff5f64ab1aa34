-- The heartbeat of a relay host. ARGV: mode, "lo-hi", id of the process, time
-- since it started, time to live, lease of the keys (ms), "" or " left", bad ports.
-- Modes: "look" changes nothing; "beat" says gone, and does nothing, when the
-- record had expired: what is known of the grants comes first; "announce";
-- "end" removes the record.
-- Reply: ok, gone, or taken and the record of another process.
local mode = ARGV[1]
local _, _, id, _, text = record()
if id and id ~= ARGV[3] then return {'taken', text} end
if mode == 'look' then return {'ok'} end
if mode == 'beat' and not id then return {'gone'} end
if mode == 'end' then
  redis.call('DEL', host)
  return {'ok'}
end
local rec = ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. now - ARGV[4] .. ' ' .. now .. ARGV[7]
redis.call('SET', host, rec, 'PX', ARGV[5])
for i = 8, #ARGV do redis.call('SETBIT', used, ARGV[i], 1) end
keep(ARGV[6])
return {'ok'}
