-- A closed session: no claim of its epoch or a lower one succeeds any more, and its leases are released.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 backoff base 3 backoff cap 4 infra retries 5 agent 6 closed epoch 7 share of the backoff
--         8 record of a lost attempt (JSON)
-- RETURNS number of leases released
--!include lib/org
--!include lib/attempt
local now, agent, epoch = ARGV[1], ARGV[5], num(ARGV[6])
local retry = { base = ARGV[2], cap = ARGV[3], infra_max = ARGV[4], share = ARGV[7] }
if num(call('HGET', P .. 'fl', agent)) <= epoch then
  call('HSET', P .. 'fl', agent, string.format('%.0f', epoch + 1))
end
local released = 0
for _, ulid in ipairs(call('SMEMBERS', P .. 'la:' .. agent)) do
  local j = load(ulid)
  if j and j.l and j.ag == agent and num(j.e) <= epoch then
    release(j, now, now, 'L', ARGV[8], retry)
    released = released + 1
  end
end
write_attempts()
return released
