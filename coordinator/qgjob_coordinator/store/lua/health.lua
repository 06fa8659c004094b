-- What is kept of devices' failures, each record put in the place of the version that it was made from.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch; then for each: device, version that it replaces, record (JSON) or '' for none, '1' if proven
-- RETURNS STALE (another epoch stands there, or it is closed); else for each: OK (also when it was done before), or
--         CHANGED (another version stands there, or the device is not the agent's)
local F = KEYS[1]
local call = redis.call
local v = call('HMGET', F .. 'ag:' .. ARGV[1], 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] == 'closed' then return { 'STALE' } end
local answer = {}
for i = 3, #ARGV, 4 do
  local key, record = F .. 'dv:' .. ARGV[i], ARGV[i + 2]
  local d = call('HMGET', key, 'agent', 'record_v', 'record')
  local there = tonumber(d[2] or 0)
  local replaced = tonumber(ARGV[i + 1])
  local word = 'CHANGED'
  if d[1] == ARGV[1] and there == replaced then
    word = 'OK'
    call('HSET', key, 'record_v', string.format('%.0f', there + 1))
    if record == '' then call('HDEL', key, 'record') else call('HSET', key, 'record', record) end
    if ARGV[i + 3] == '1' then call('HSET', key, 'proven', '1') end
  elseif d[1] == ARGV[1] and there == replaced + 1 and (d[3] or '') == record then
    word = 'OK'
  end
  answer[#answer + 1] = word
end
return answer
