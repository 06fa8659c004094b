-- Notes that a build is in use.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 app version, platform and kind 3 the value that was found there
-- RETURNS OK, or MOVED when another one stands there now
local builds = KEYS[1] .. 'bd'
if redis.call('HGET', builds, ARGV[2]) ~= ARGV[3] then return 'MOVED' end
redis.call('HSET', builds, ARGV[2], ARGV[1] .. string.match(ARGV[3], '^%d+( .*)$'))
return 'OK'
