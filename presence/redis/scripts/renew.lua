-- ARGV: time since seen (ms), json, time to live (ms).
see(now - ARGV[1], ARGV[2], ARGV[3])
return 'ok'
