-- One page of the live grants of a host.
-- ARGV: cursor, page size, lease, hold (ms). Reply: next cursor, grants.
local page = redis.call('HSCAN', ports, ARGV[1], 'COUNT', ARGV[2])
local grants = {}
for i = 1, #page[2], 2 do
  grants[#grants + 1] = view(page[2][i], ARGV[3], ARGV[4])
end
return {page[1], grants}
