-- Prelude of every script that deals in time: milliseconds since 1970 of the
-- Redis server, so that hosts whose clocks differ agree. stamp is the same as a
-- string: a number is printed for every call it is given to.
local t = redis.call('TIME')
local stamp = t[1] .. string.sub('00000' .. t[2], -6, -4)
local now = tonumber(stamp)
