-- What reapers watch.
-- KEYS    1 prefix of the fleet
-- ARGV    none
-- RETURNS {{'agent epoch' to be swept, ...}, agent, epoch, counter, state, when it was heard last (ms), ...}
local F = KEYS[1]
local answer = { redis.call('SMEMBERS', F .. 'sw') }
for _, agent in ipairs(redis.call('SMEMBERS', F .. 'agents')) do
  local v = redis.call('HMGET', F .. 'ag:' .. agent, 'epoch', 'counter', 'state', 'seen')
  answer[#answer + 1] = agent
  for k = 1, 4 do answer[#answer + 1] = v[k] or '' end
end
return answer
