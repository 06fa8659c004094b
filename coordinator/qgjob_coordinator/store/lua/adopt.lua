-- A new session of an agent: takes over the leases that it shows, releases those that it does not.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 backoff base 3 backoff cap 4 infra retries 5 agent 6 epoch 7 share of the backoff
--         8 record of a lost attempt (JSON); then for each shown attempt: ulid, token
-- RETURNS {released}, then for each shown attempt a word: ADOPTED, REVOKED (adopted, and to be killed), GONE
--!include lib/org
--!include lib/attempt
local now, agent, epoch = ARGV[1], ARGV[5], num(ARGV[6])
local retry = { base = ARGV[2], cap = ARGV[3], infra_max = ARGV[4], share = ARGV[7] }
local answer, shown = { 0 }, {}
-- Adoption comes first: nobody may release what this session shows.
for i = 9, #ARGV, 2 do
  local ulid, token = ARGV[i], ARGV[i + 1]
  local v = call('HMGET', P .. 'j:' .. ulid, 'l', 'rv')
  local held, k, ag, device, at
  if v[1] then held, k, ag, device, at = lease_of(v[1]) end
  local word = 'GONE'
  if k == token and ag == agent and num(held) <= epoch then
    call('HSET', P .. 'j:' .. ulid, 'l', table.concat({ ARGV[6], k, ag, device, at }, ' '))
    shown[ulid] = true
    word = v[2] and 'REVOKED' or 'ADOPTED'
  end
  answer[#answer + 1] = word
end
if num(call('HGET', P .. 'fl', agent)) < epoch then call('HSET', P .. 'fl', agent, ARGV[6]) end
for _, ulid in ipairs(call('SMEMBERS', P .. 'la:' .. agent)) do
  if not shown[ulid] then
    local j = load(ulid)
    if j and j.l and j.ag == agent and num(j.e) < epoch then
      release(j, now, now, 'L', ARGV[8], retry)
      answer[1] = answer[1] + 1
    end
  end
end
write_attempts()
return answer
