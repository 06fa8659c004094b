-- Agents and devices as they stand.
-- KEYS    1 prefix of the fleet
-- ARGV    agents; none for all of them
-- RETURNS for each agent: {agent, fields, {device, fields, ...}}
local F = KEYS[1]
local call = redis.call
local agents = #ARGV > 0 and ARGV or call('SMEMBERS', F .. 'agents')
local answer = {}
for i, agent in ipairs(agents) do
  local devices = {}
  for _, device in ipairs(call('SMEMBERS', F .. 'da:' .. agent)) do
    devices[#devices + 1] = device
    devices[#devices + 1] = call('HGETALL', F .. 'dv:' .. device)
  end
  answer[i] = { agent, call('HGETALL', F .. 'ag:' .. agent), devices }
end
return answer
