-- Orgs in which a session that was just opened adopted nothing leave its agent's set: no lease of the agent is there, and
-- none can come, since Connect has raised the lowest epoch of their claims; the session admits them again before it claims.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 store epoch when the agent's set was read; then orgs
-- RETURNS OK, or MOVED (a newer session was opened, or the store has another life)
local F, agent = KEYS[1], ARGV[1]
if (redis.call('HGET', F .. 'store', 'epoch') or '0') ~= ARGV[3] then return 'MOVED' end
if redis.call('HGET', F .. 'ag:' .. agent, 'epoch') ~= ARGV[2] then return 'MOVED' end
for i = 4, #ARGV do redis.call('SREM', F .. 'ao:' .. agent, ARGV[i]) end
return 'OK'
