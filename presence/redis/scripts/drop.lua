-- Takes a grant back that was made twice, unless a conversation is on it.
-- ARGV: login, port.
if owner(ARGV[2]) == ARGV[1] and not redis.call('ZSCORE', held, ARGV[2]) then drop(ARGV[2]) end
return 'ok'
