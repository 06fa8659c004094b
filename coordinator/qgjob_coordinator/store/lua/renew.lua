-- A heartbeat: renews a session that is current and not closed. A timed-out or detached one is open again.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 now (ms)
-- RETURNS {word, number of the newest hold}: OK, or STALE
local F = KEYS[1]
local key = F .. 'ag:' .. ARGV[1]
local v = redis.call('HMGET', key, 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] == 'closed' then return { 'STALE', 0 } end
local holds = tonumber(redis.call('HGET', F .. 'store', 'holds') or 0)
redis.call('HINCRBY', key, 'counter', 1)
redis.call('HSET', key, 'state', 'open', 'seen', ARGV[3])
return { 'OK', holds }
