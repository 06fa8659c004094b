-- Before the first claim of a session in an org: notes the org for the reaper, while the session may take work.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch; then orgs
-- RETURNS OK, or STALE
local F = KEYS[1]
local v = redis.call('HMGET', F .. 'ag:' .. ARGV[1], 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] ~= 'open' then return 'STALE' end
for i = 3, #ARGV do redis.call('SADD', F .. 'ao:' .. ARGV[1], ARGV[i]) end
return 'OK'
