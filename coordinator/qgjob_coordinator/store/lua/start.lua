-- The agent says that attempts run.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms); then for each attempt: ulid, token, started (ms)
-- RETURNS a word each: APPLIED, REPLAYED, STALE
--!include lib/org
local now, answer, jobs = ARGV[1], {}, {}
-- All are read before the first is changed: one that can't be used leaves the others as they were.
for i = 2, #ARGV, 3 do jobs[ARGV[i]] = call('HMGET', P .. 'j:' .. ARGV[i], 's', 'l', 'rv', 'v', 'i', 'n') end
for i = 2, #ARGV, 3 do
  local ulid, token = ARGV[i], ARGV[i + 1]
  local key, v = P .. 'j:' .. ulid, jobs[ulid]
  local word = 'STALE'
  local _, held, agent, device
  if v[2] and v[1] ~= 'c' then _, held, agent, device = lease_of(v[2]) end
  if held == token and not v[3] then
    if v[1] == 's' then
      local version = next_version(v[4])
      call('HSET', key, 's', 'r', 'st', ARGV[i + 2], 'v', version)
      v[1], v[4] = 'r', version
      moved(v[5], 's', 'r')   -- it begins with the gid
      event(ulid, version, 'r', v[6], nil, device, agent)
      word = 'APPLIED'
    else
      word = 'REPLAYED'
    end
  end
  answer[#answer + 1] = word
end
write_all()
return answer
