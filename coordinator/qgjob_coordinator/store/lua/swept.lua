-- All orgs of a closed session are swept: forgets them, unless a newer session was opened since.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch; then the orgs that were swept
-- RETURNS OK, or MOVED
local F, agent = KEYS[1], ARGV[1]
redis.call('SREM', F .. 'sw', agent .. ' ' .. ARGV[2])
local v = redis.call('HMGET', F .. 'ag:' .. agent, 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] ~= 'closed' then return 'MOVED' end
for i = 3, #ARGV do redis.call('SREM', F .. 'ao:' .. agent, ARGV[i]) end
return 'OK'
