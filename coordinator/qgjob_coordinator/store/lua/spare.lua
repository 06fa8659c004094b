-- Orgs in which a session that was just opened adopted nothing leave its agent's set: no lease of the agent is there, and
-- none can come, since Connect has raised the lowest epoch of their claims; the session admits them again before it claims.
-- So once in a session: what arrives again may come behind a claim, and would take off what was admitted for that.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 store epoch when the agent's set was read; then orgs
-- RETURNS OK, or MOVED (a newer session was opened, or the store has another life). `*`, which stood for all orgs, leaves
--         the set too: whoever calls this has put those by name in it that are to stay.
local F, agent = KEYS[1], ARGV[1]
if (redis.call('HGET', F .. 'store', 'epoch') or '0') ~= ARGV[3] then return 'MOVED' end
local v = redis.call('HMGET', F .. 'ag:' .. agent, 'epoch', 'spared')
if v[1] ~= ARGV[2] then return 'MOVED' end
if v[2] == ARGV[2] then return 'OK' end
redis.call('HSET', F .. 'ag:' .. agent, 'spared', ARGV[2])
redis.call('SREM', F .. 'ao:' .. agent, '*')
for i = 4, #ARGV, 4000 do
  redis.call('SREM', F .. 'ao:' .. agent, unpack(ARGV, i, math.min(i + 3999, #ARGV)))
end
return 'OK'
