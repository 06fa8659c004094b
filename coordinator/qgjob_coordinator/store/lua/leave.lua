-- Orgs of which nothing is left: first they are idle, and leave the registry when none of them registered for long.
-- Who looked did so before, and what was written since has registered its org before that.
-- KEYS    1 prefix of the fleet
-- ARGV    1 now (ms) 2 idle since before (ms); then orgs
-- RETURNS those that are in the registry no more
local F = KEYS[1]
local call = redis.call
local left = {}
for i = 3, #ARGV do
  local org = ARGV[i]
  local since = tonumber(call('HGET', F .. 'idle', org))
  if call('SREM', F .. 'orgs', org) == 1 then
    call('HSET', F .. 'idle', org, ARGV[1])
  elseif not since or since < tonumber(ARGV[2]) then
    call('HDEL', F .. 'idle', org)
    left[#left + 1] = org
  end
end
return left
