-- A coordinator meets the store: checks the schema, and raises the store's epoch when the store has a new life.
--
-- The new life may be of an older state. Then what an agent's set of orgs says, and what was swept, is not to be trusted
-- any more: a session took leases in orgs that its agent's set has lost, and leases that were swept are back. So every org
-- joins the set of every agent, and closed sessions are swept again. (docs/model: new-life-joins-orgs) One member stands
-- for all orgs, so that this takes as long as there are agents, however many orgs there are.
-- KEYS    1 prefix of the fleet
-- ARGV    1 schema version 2 what names this life (run id of the store's process, or of all its processes) 3 epoch that the
--         caller knew before it looked for that, 0 for none: one that was raised since tells more than what it saw
-- RETURNS {schema found, store epoch, epoch of the life before or 0}; a schema other than ARGV[1]: nothing was changed
local F = KEYS[1]
local call = redis.call
local schema = call('GET', F .. 'schema')
if schema and schema ~= ARGV[1] then return { schema, 0, 0 } end
if not schema then call('SET', F .. 'schema', ARGV[1]) end
local v = call('HMGET', F .. 'store', 'run_id', 'epoch', 'before')
local known = tonumber(ARGV[3])
if v[1] == ARGV[2] or (known > 0 and tonumber(v[2] or 0) > known) then return { ARGV[1], v[2], v[3] or '0' } end
local before = v[2] or '0'
local time = call('TIME')   -- in ms it is the epoch: one that was lost with a newer state is never given again
local epoch = string.format('%.0f', math.max(tonumber(before) + 1, time[1] * 1000 + math.floor(time[2] / 1000)))
for _, agent in ipairs(call('SMEMBERS', F .. 'agents')) do
  call('SADD', F .. 'ao:' .. agent, '*')
  local s = call('HMGET', F .. 'ag:' .. agent, 'epoch', 'state')
  if s[2] == 'closed' then call('SADD', F .. 'sw', agent .. ' ' .. s[1]) end
end
call('HSET', F .. 'store', 'run_id', ARGV[2], 'epoch', epoch, 'before', before)
return { ARGV[1], epoch, before }
