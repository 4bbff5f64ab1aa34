-- One page of the live grants of a host.
-- ARGV: cursor, page size, lease, hold (ms). Reply: next cursor, grants.
local page = redis.call('HSCAN', ports, ARGV[1], 'COUNT', ARGV[2])
local grants = {}
for i = 1, #page[2], 2 do
  local g = view(page[2][i], tonumber(ARGV[4]))
  if g[5] == 1 or g[4] + tonumber(ARGV[3]) >= now then grants[#grants + 1] = g end
end
return {page[1], grants}
