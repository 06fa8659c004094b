-- A closed session: no claim of its epoch or a lower one succeeds any more, and its leases are released.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 to 7 rules of retries (see LeaseStore) 8 agent 9 closed epoch 10 share of the backoff
--         11 record of a lost attempt (JSON)
-- RETURNS what was done to each released one (see `told`)
--!include lib/org
--!include lib/attempt
--!include lib/held
local now, agent, epoch, lost_record = ARGV[1], ARGV[8], num(ARGV[9]), ARGV[11]
local retry = rules()
retry.share = ARGV[10]
if num(call('HGET', P .. 'fl', agent)) <= epoch then
  call('HSET', P .. 'fl', agent, string.format('%.0f', epoch + 1))
end
local released = {}
for _, j in ipairs(leases_of(agent, call('SMEMBERS', P .. 'la:' .. agent))) do
  if num(j.e) <= epoch then released[#released + 1] = release(j, now, now, 'L', lost_record, retry) end
end
write_attempts()
return released
