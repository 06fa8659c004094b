-- Progress of running attempts; lossy.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms); then for each: ulid, token, percent
-- RETURNS a word each: APPLIED, REPLAYED (nothing new), STALE
--!include lib/org
local answer, jobs = {}, {}
-- All are read before the first is changed: one that can't be used leaves the others as they were.
for i = 2, #ARGV, 3 do
  local v = jobs[ARGV[i]] or call('HMGET', P .. 'j:' .. ARGV[i], 'l', 'rv', 's', 'v', 'n', 'pr')
  if v[1] and v[3] ~= 'c' then
    v[7], v[8], v[9] = holder_of(v[1])
    if not (v[7] and STATES[v[3]] and tonumber(v[5])) then damaged() end
  elseif STATES[v[3]] == 1 then
    damaged()
  end
  jobs[ARGV[i]] = v
end
for i = 2, #ARGV, 3 do
  local v, word = jobs[ARGV[i]], 'STALE'
  local held = v[7] == ARGV[i + 1] and not v[2]
  if held and (v[6] or '0') == ARGV[i + 2] then
    word = 'REPLAYED'
  elseif held then
    v[4], v[6] = next_version(v[4]), ARGV[i + 2]
    call('HSET', P .. 'j:' .. ARGV[i], 'pr', v[6], 'v', v[4], 'u', ARGV[1])
    event(ARGV[i], v[4], v[3], v[5], nil, v[9], v[8])
    word = 'APPLIED'
  end
  answer[#answer + 1] = word
end
write_all()
return answer
