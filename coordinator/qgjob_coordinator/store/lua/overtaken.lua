-- An org has leases of a later session of an agent than the fleet knows, if it knows the agent: the fleet went back behind
-- it. From now on reapers watch that session as any other; what it holds is released when it stands still, or shown by the next.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch
-- RETURNS OK, or KNOWN (an epoch as high stands there)
local F, agent = KEYS[1], ARGV[1]
local call = redis.call
local key = F .. 'ag:' .. agent
if (tonumber(call('HGET', key, 'epoch')) or 0) >= tonumber(ARGV[2]) then return 'KNOWN' end
call('HSET', key, 'epoch', ARGV[2], 'state', 'timed_out')
call('HINCRBY', key, 'counter', 1)
call('SADD', F .. 'agents', agent)
call('SADD', F .. 'ao:' .. agent, '*')   -- all orgs
return 'OK'
