-- The agent says that attempts run.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms); then for each attempt: ulid, token, started (ms)
-- RETURNS a word each: APPLIED, REPLAYED, STALE
--!include lib/org
local now, answer, jobs = ARGV[1], {}, {}
-- All are read before the first is changed: one that can't be used leaves the others as they were.
for i = 2, #ARGV, 3 do
  local v = call('HMGET', P .. 'j:' .. ARGV[i], 's', 'l', 'rv', 'v', 'i', 'n')
  if not (STATES[v[1]] and string.find(v[5] or '', '^[edb]')) and (v[1] or v[5]) then damaged() end
  if v[2] and v[1] ~= 'c' then
    v[2], v[7], v[8] = holder_of(v[2])
    if not (v[2] and string.find(v[6] or '', '^%d+$')) then damaged() end
  elseif STATES[v[1]] == 1 then
    damaged()
  end
  jobs[ARGV[i]] = v
end
for i = 2, #ARGV, 3 do
  local ulid, token = ARGV[i], ARGV[i + 1]
  local v = jobs[ulid]
  local word = 'STALE'
  if v[2] == token and not v[3] then
    if v[1] == 's' then
      local version = next_version(v[4])
      call('HSET', P .. 'j:' .. ulid, 's', 'r', 'st', ARGV[i + 2], 'v', version)
      v[1], v[4] = 'r', version
      moved(v[5], 's', 'r')   -- it begins with the gid, of which the first letter counts
      event(ulid, version, 'r', v[6], nil, v[8], v[7])
      word = 'APPLIED'
    else
      word = 'REPLAYED'
    end
  end
  answer[#answer + 1] = word
end
write_all()
return answer
