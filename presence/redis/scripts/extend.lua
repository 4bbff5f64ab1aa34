-- Renews the grant of a login. ARGV: login, hold (ms).
-- Reply: what was done, then the grant.
if not lo or left then return 'nohost' end
return renew(ARGV[1], ARGV[2]) or 'none'
