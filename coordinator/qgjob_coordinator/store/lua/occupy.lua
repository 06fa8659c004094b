-- What devices do now, and what was installed on them.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 now (ms); then for each: device, job or '', installed ('org app_version', '-' for no
--         change), installs to add
-- RETURNS OK, or STALE (another epoch stands there, or it is closed). Devices that are not the agent's are left alone.
local F = KEYS[1]
local call = redis.call
local v = call('HMGET', F .. 'ag:' .. ARGV[1], 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] == 'closed' then return 'STALE' end
for i = 4, #ARGV, 4 do
  local key = F .. 'dv:' .. ARGV[i]
  local d = call('HMGET', key, 'agent', 'seen', 'job')
  local repeated = d[2] == ARGV[3] and d[3] == ARGV[i + 1]   -- the reply was lost: installs were counted
  if d[1] == ARGV[1] then
    if ARGV[i + 2] ~= '-' then
      call('HSET', key, 'job', ARGV[i + 1], 'seen', ARGV[3], 'installed', ARGV[i + 2])
    else
      call('HSET', key, 'job', ARGV[i + 1], 'seen', ARGV[3])
    end
    if ARGV[i + 3] ~= '0' and not repeated then call('HINCRBY', key, 'installs', ARGV[i + 3]) end
  end
end
return 'OK'
