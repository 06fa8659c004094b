-- All orgs, those too of which nothing was left lately.
-- KEYS    1 prefix of the fleet
-- ARGV    none
-- RETURNS {{org, ...}, {org of which nothing was left, ...}}; an org that has registered since is in both
local F = KEYS[1]
return { redis.call('SMEMBERS', F .. 'orgs'), redis.call('HKEYS', F .. 'idle') }
