-- Progress of running attempts; lossy.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms); then for each: ulid, token, percent
-- RETURNS a word each: APPLIED, REPLAYED (nothing new), STALE
--!include lib/org
local answer = {}
for i = 2, #ARGV, 3 do
  local key = P .. 'j:' .. ARGV[i]
  local v = call('HMGET', key, 'l', 'rv', 's', 'v', 'n', 'pr')
  local word = 'STALE'
  local _, token, agent, device
  if v[1] and v[3] ~= 'c' then token, agent, device = holder_of(v[1]) end
  local held = token == ARGV[i + 1] and not v[2]
  if held and (v[6] or '0') == ARGV[i + 2] then
    word = 'REPLAYED'
  elseif held then
    local version = next_version(v[4])
    call('HSET', key, 'pr', ARGV[i + 2], 'v', version, 'u', ARGV[1])
    event(ARGV[i], version, v[3], v[5], nil, device, agent)
    word = 'APPLIED'
  end
  answer[#answer + 1] = word
end
write_all()
return answer
