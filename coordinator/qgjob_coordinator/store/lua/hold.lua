-- An operator's word on a device or on an agent.
-- KEYS    1 prefix of the fleet
-- ARGV    1 'dv' or 'ag' 2 id 3 field (hold, labels) 4 value (JSON), or '' to remove it
-- RETURNS {sequence number of the fleet's holds, agent}, or {} when there is no such device or agent
local F = KEYS[1]
local call = redis.call
local key = F .. ARGV[1] .. ':' .. ARGV[2]
if call('EXISTS', key) == 0 then return {} end
if ARGV[4] == '' then call('HDEL', key, ARGV[3]) else call('HSET', key, ARGV[3], ARGV[4]) end
local agent = ARGV[1] == 'ag' and ARGV[2] or call('HGET', key, 'agent')
return { call('HINCRBY', F .. 'store', 'holds', 1), agent }
