-- All orgs of a closed session are swept: forgets them, unless a newer session was opened since, or the store has another
-- life than when the sweep began: then leases may be back, and the session is swept again.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 store epoch when the sweep began; then the orgs that were swept
-- RETURNS OK, or MOVED
local F, agent = KEYS[1], ARGV[1]
if (redis.call('HGET', F .. 'store', 'epoch') or '0') ~= ARGV[3] then return 'MOVED' end
redis.call('SREM', F .. 'sw', agent .. ' ' .. ARGV[2])
local v = redis.call('HMGET', F .. 'ag:' .. agent, 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] ~= 'closed' then return 'MOVED' end
redis.call('SREM', F .. 'ao:' .. agent, '*')   -- what stood for all orgs: those that were named here are all of them
for i = 4, #ARGV, 4000 do
  redis.call('SREM', F .. 'ao:' .. agent, unpack(ARGV, i, math.min(i + 3999, #ARGV)))
end
return 'OK'
