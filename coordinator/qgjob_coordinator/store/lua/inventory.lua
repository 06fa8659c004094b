-- What an agent shows of its devices.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 now (ms) 4 '1' if this is all of them 5 number changed; then for each changed: device,
--         facts (JSON), installed ('org app_version' or ''); then ids of those that are gone
-- RETURNS OK, or STALE (another epoch stands there, or it is closed). A device that another agent has whose session is
--         not closed stays that agent's.
local F, agent, now = KEYS[1], ARGV[1], ARGV[3]
local call = redis.call
local v = call('HMGET', F .. 'ag:' .. agent, 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] == 'closed' then return 'STALE' end
local changed, shown = tonumber(ARGV[5]), {}
for i = 1, changed do
  local b = 6 + (i - 1) * 3
  local device = ARGV[b]
  shown[device] = true
  local owner = call('HGET', F .. 'dv:' .. device, 'agent')
  if not owner or owner == agent or call('HGET', F .. 'ag:' .. owner, 'state') == 'closed' then
    if owner and owner ~= agent then call('SREM', F .. 'da:' .. owner, device) end
    call('SADD', F .. 'da:' .. agent, device)
    call('HSET', F .. 'dv:' .. device, 'agent', agent, 'facts', ARGV[b + 1], 'installed', ARGV[b + 2], 'seen', now,
      'present', '1')
    call('HDEL', F .. 'dv:' .. device, 'gone')
  end
end
if ARGV[4] == '1' then
  for _, device in ipairs(call('SMEMBERS', F .. 'da:' .. agent)) do
    if not shown[device] then call('HSET', F .. 'dv:' .. device, 'present', '0') end
    call('HDEL', F .. 'dv:' .. device, 'job', 'free')
  end
end
for i = 6 + changed * 3, #ARGV do
  if call('HGET', F .. 'dv:' .. ARGV[i], 'agent') == agent then call('HSET', F .. 'dv:' .. ARGV[i], 'present', '0') end
end
return 'OK'
