-- Forgets an agent that is gone: its row, and those of its devices with all that was said of them.
--
-- Its epoch stays for a time, so that what is left of its sessions finds nothing that it could take for its own, and its next
-- session has a higher one. So do the lowest epochs that may claim, in the orgs: a late claim of it is refused there.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 now (ms) 3 heard last before (ms), or '' when a person asks: then neither that nor holds keep it
--         4 how long its epoch is kept (ms) 5 operation id or '' 6 operation ttl (ms)
-- RETURNS {word, {device, ...}}: OK (its devices; the same again when the operation was done before), UNKNOWN (no such
--         agent), OPEN (its session is not closed), LEASES (they are still to be released), HEARD (since ARGV[3]), HELD (a
--         hold of it or of a device is in force). All but OK changed nothing.
--!include lib/in_force
local F, agent, now, before = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local call = redis.call
local key, operation = F .. 'ag:' .. agent, F .. 'op:' .. ARGV[5]
local done = ARGV[5] ~= '' and call('GET', operation)
if done then return { 'OK', cjson.decode(done) } end
local v = call('HMGET', key, 'epoch', 'state', 'seen')
if not v[1] then return { 'UNKNOWN', {} } end
if v[2] ~= 'closed' then return { 'OPEN', {} } end
if call('SISMEMBER', F .. 'sw', agent .. ' ' .. v[1]) == 1 or call('EXISTS', F .. 'ao:' .. agent) == 1 then
  return { 'LEASES', {} }
end
local devices = call('SMEMBERS', F .. 'da:' .. agent)
if before then
  if (tonumber(v[3]) or 0) >= before then return { 'HEARD', {} } end
  if held(key, now) then return { 'HELD', {} } end
  for _, device in ipairs(devices) do
    if held(F .. 'dv:' .. device, now) then return { 'HELD', {} } end
  end
end
for _, device in ipairs(devices) do call('DEL', F .. 'dv:' .. device) end
call('DEL', key, F .. 'da:' .. agent)
call('SREM', F .. 'agents', agent)
call('SET', F .. 'fe:' .. agent, v[1], 'PX', ARGV[4])
if ARGV[5] ~= '' then call('SET', operation, cjson.encode(devices), 'PX', ARGV[6]) end
return { 'OK', devices }
