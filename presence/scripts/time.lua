-- Prelude of every script that deals in time: milliseconds since 1970 of the
-- Redis server, so that hosts whose clocks differ agree.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
