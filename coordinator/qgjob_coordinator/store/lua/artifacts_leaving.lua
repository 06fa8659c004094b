-- What is kept of a job is removed: from now on nothing is added to it, and its bytes may be deleted.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 ulid 3 when something was added last, as it was found (ms)
-- RETURNS OK, or MOVED when something was added since, or another one removes it
local P, ulid = KEYS[1], ARGV[2]
if redis.call('ZSCORE', P .. 'ak', ulid) ~= ARGV[3] then return 'MOVED' end
redis.call('DEL', P .. 'ar:' .. ulid)
redis.call('HSET', P .. 'ar:' .. ulid, 'gone', '1')
redis.call('ZREM', P .. 'ak', ulid)
redis.call('ZADD', P .. 'ag', ARGV[1], ulid)
return 'OK'
