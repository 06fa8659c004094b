-- Agents that hold leases in an org, some of them at a time.
-- KEYS    1 prefix of the org
-- ARGV    1 where to go on, 0 to begin 2 about how many agents that ever claimed here to look at
-- RETURNS {where to go on, 0 at the end, agent, its lowest epoch that may claim, ...}: none of its leases has a higher one
local P = KEYS[1]
local some = redis.call('HSCAN', P .. 'fl', ARGV[1], 'COUNT', ARGV[2])
local answer = { some[1] }
for i = 1, #some[2], 2 do
  if redis.call('EXISTS', P .. 'la:' .. some[2][i]) == 1 then
    answer[#answer + 1] = some[2][i]
    answer[#answer + 1] = some[2][i + 1]
  end
end
return answer
