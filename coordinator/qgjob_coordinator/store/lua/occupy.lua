-- What devices do now, and what was installed on them.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 now (ms); then for each: device, job or '', installed ('org app_version', '-' for no
--         change), `org n ` of installations to add, ms of work to add, ms that one installation took or '', ms that a test took or '',
--         when it is expected to have done what it holds (ms) or '', `org app_version ms` of what was installed when. That
--         holds while the same is installed there: an agent may show something else, or an older coordinator write it
-- RETURNS OK, or STALE (another epoch stands there, or it is closed). Devices that are not the agent's are left alone.
--!include lib/average
local F = KEYS[1]
local call = redis.call

-- One more measurement of a kind: `*` for tests, the letter of a target for installations.
local function learn(kind, ms)
  local known = call('HGET', F .. 'ty', kind) or nil
  if kind == '*' then
    local typical = typical_of(known)
    observe_typical(typical, log_of(ms))
    known = kept_as(typical)
  else
    known = observe(known, '', ms + 0)
  end
  call('HSET', F .. 'ty', kind, known)
end

local v = call('HMGET', F .. 'ag:' .. ARGV[1], 'epoch', 'state')
if v[1] ~= ARGV[2] or v[2] == 'closed' then return 'STALE' end
for i = 4, #ARGV, 9 do
  local key = F .. 'dv:' .. ARGV[i]
  local d = call('HMGET', key, 'agent', 'seen', 'job', 'facts')
  local repeated = d[2] == ARGV[3] and d[3] == ARGV[i + 1]   -- the reply was lost: all was counted
  if d[1] == ARGV[1] then
    call('HSET', key, 'job', ARGV[i + 1], 'seen', ARGV[3], 'free', ARGV[i + 7])
    if ARGV[i + 2] ~= '-' then call('HSET', key, 'installed', ARGV[i + 2], 'installed_at', ARGV[i + 8]) end
    if not repeated then
      for org, n in string.gmatch(ARGV[i + 3], '(%S+) (%d+) ') do
        call('HINCRBY', key, 'installs', n)
        call('HINCRBY', F .. 'in', org, n)
      end
      if ARGV[i + 4] ~= '0' then call('HINCRBY', key, 'busy_ms', ARGV[i + 4]) end
      if ARGV[i + 5] ~= '' then learn(string.sub(cjson.decode(d[4]).target, 1, 1), ARGV[i + 5]) end
      if ARGV[i + 6] ~= '' then learn('*', ARGV[i + 6]) end
    end
  end
end
return 'OK'
