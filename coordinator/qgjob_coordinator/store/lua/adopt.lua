-- A new session of an agent: takes over the leases that it shows, releases those that it does not.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 to 7 rules of retries (see LeaseStore) 8 agent 9 epoch 10 share of the backoff
--         11 record of a lost attempt (JSON) 12 epoch below which leases came back with an older state of the store
--         (see open.lua) 13 record of such an attempt; then for each shown attempt: ulid, token
-- RETURNS {what was done to each released one (see `told`), ...}, then for each shown attempt a word: ADOPTED, REVOKED (adopted, and to be killed), GONE
--!include lib/org
--!include lib/attempt
--!include lib/held
local now, agent, epoch, back = ARGV[1], ARGV[8], num(ARGV[9]), num(ARGV[12])
local retry = rules()
retry.share = ARGV[10]
local answer, shown = { {} }, {}
-- What this session shows is looked at first: nobody may release that.
for i = 14, #ARGV, 2 do
  local ulid, token = ARGV[i], ARGV[i + 1]
  local v = call('HMGET', P .. 'j:' .. ulid, 'l', 'rv', 's')
  local held, k, ag, device, at
  if v[1] and v[3] ~= 'c' then held, k, ag, device, at = lease_of(v[1]) end
  local word = 'GONE'
  if k == token and ag == agent and num(held) <= epoch then
    shown[ulid] = table.concat({ ARGV[9], k, ag, device, at }, ' ')
    word = v[2] and 'REVOKED' or 'ADOPTED'
  end
  answer[#answer + 1] = word
end
local others = {}
for _, ulid in ipairs(call('SMEMBERS', P .. 'la:' .. agent)) do
  if not shown[ulid] then others[#others + 1] = ulid end
end
local held = leases_of(agent, others)
for ulid, lease in pairs(shown) do call('HSET', P .. 'j:' .. ulid, 'l', lease) end
if num(call('HGET', P .. 'fl', agent)) < epoch then call('HSET', P .. 'fl', agent, ARGV[9]) end
for _, j in ipairs(held) do
  if num(j.e) < epoch then
    local charge, record = 'L', ARGV[11]
    if num(j.e) < back then charge, record = 'O', ARGV[13] end
    table.insert(answer[1], release(j, now, now, charge, record, retry))
  end
end
write_attempts()
return answer
