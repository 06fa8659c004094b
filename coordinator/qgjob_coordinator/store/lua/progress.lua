-- Progress of running attempts; lossy.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms); then for each: ulid, token, percent
-- RETURNS a word each: APPLIED, REPLAYED (nothing new), STALE
--!include lib/org
local answer = {}
for i = 2, #ARGV, 3 do
  local key = P .. 'j:' .. ARGV[i]
  local v = call('HMGET', key, 'l', 'k', 'rv', 's', 'v', 'n', 'dv', 'ag', 'pr')
  local word = 'STALE'
  local held = v[1] and v[2] == ARGV[i + 1] and not v[3]
  if held and (v[9] or '0') == ARGV[i + 2] then
    word = 'REPLAYED'
  elseif held then
    local version = num(v[5] or 1) + 1
    call('HSET', key, 'pr', ARGV[i + 2], 'v', version, 'u', ARGV[1])
    event(ARGV[i], version, v[4], v[6], nil, v[7], v[8])
    word = 'APPLIED'
  end
  answer[#answer + 1] = word
end
write_all()
return answer
