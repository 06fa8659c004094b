-- Opens a session of an agent.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 instance 3 epoch 4 now (ms) 5 facts (JSON) 6 coordinator; then the ids of the devices it shows
-- RETURNS {word, stored epoch, other, back}: OPENED (the same call again too), STALE (the epoch is not above the stored
--         one, be it that of an agent that was forgotten), IN_USE (a session of another home is not timed out), DEVICE
--         (other = `device agent`: a device of another agent that is not given up). An instance is `home.life` or just
--         `life`; two instances of one home can't live at once, since a daemon locks its home, so a new one of the same
--         home may follow at once.
--         back: leases of lower epochs that the agent does not show came back with an older state of the store; 0 for none.
--         It had a session before this life of the store and was not restarted since, so it knows that they are over.
local F, agent, instance, epoch, now = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local call = redis.call
local key = F .. 'ag:' .. agent
local v = call('HMGET', key, 'epoch', 'instance', 'state', 'at', 'connected', 'life', 'back')
local life = call('HGET', F .. 'store', 'epoch') or '0'
local known = tonumber(v[1]) or 0
local stored = math.max(known, tonumber(call('GET', F .. 'fe:' .. agent) or 0))   -- it may have been forgotten
if v[1] == ARGV[3] and v[2] == instance and v[3] == 'open' and v[4] == ARGV[6] and v[5] == now then
  return { 'OPENED', epoch, '', tonumber(v[7]) or 0 }   -- the reply was lost
end
local function home(x) return string.match(x, '^[^.]*') end
if (v[3] == 'open' or v[3] == 'detached') and v[2] and home(v[2]) ~= home(instance) then return { 'IN_USE', stored, v[2], 0 } end
if epoch <= stored then return { 'STALE', stored, '', 0 } end
local moved = {}
for i = 7, #ARGV do
  local owner = call('HGET', F .. 'dv:' .. ARGV[i], 'agent')
  if owner and owner ~= agent then
    local state = call('HGET', F .. 'ag:' .. owner, 'state')
    if state ~= 'closed' then return { 'DEVICE', stored, ARGV[i] .. ' ' .. owner, 0 } end
    moved[ARGV[i]] = owner
  end
end
for device, owner in pairs(moved) do
  call('SREM', F .. 'da:' .. owner, device)
  -- What operators said of it, its record and its wear go with it: they are the device's.
  call('HDEL', F .. 'dv:' .. device, 'installed', 'job', 'free', 'present', 'gone')
  call('HSET', F .. 'dv:' .. device, 'agent', agent)
  call('SADD', F .. 'da:' .. agent, device)
end
local back = '0'
if v[2] == instance then
  if v[6] == life then back = v[7] elseif v[6] then back = ARGV[3] end
end
call('HSET', key, 'epoch', ARGV[3], 'instance', instance, 'state', 'open', 'facts', ARGV[5], 'at', ARGV[6],
  'connected', now, 'seen', now, 'life', life, 'back', back)
call('HINCRBY', key, 'counter', 1)
call('SADD', F .. 'agents', agent)
-- It had sessions, and the fleet has forgotten them, or is an older state: they may have leases in any org.
if not v[1] and epoch > 1 then call('SADD', F .. 'ao:' .. agent, '*') end   -- all orgs
-- What an older session left to sweep is done by this one's Connect in every org of the set.
call('SREM', F .. 'sw', agent .. ' ' .. string.format('%.0f', known))
call('DEL', F .. 'fe:' .. agent)
return { 'OPENED', epoch, '', tonumber(back) }
