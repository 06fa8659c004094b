-- Files of an attempt are about to be kept, or are: what was written first stays.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 ulid, then field and value of each entry (see artifacts.py)
-- RETURNS all fields and values of the job; none while what was kept of it is removed
local P, ulid = KEYS[1], ARGV[2]
local kept = P .. 'ar:' .. ulid
if redis.call('HEXISTS', kept, 'gone') == 1 then return {} end
redis.call('ZADD', P .. 'ak', ARGV[1], ulid)
for i = 3, #ARGV, 2 do
  redis.call('HSETNX', kept, ARGV[i], ARGV[i + 1])
end
return redis.call('HGETALL', kept)
