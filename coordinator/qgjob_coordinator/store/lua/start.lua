-- The agent says that attempts run.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms); then for each attempt: ulid, token, started (ms)
-- RETURNS a word each: APPLIED, REPLAYED, STALE
--!include lib/org
local now, answer = ARGV[1], {}
for i = 2, #ARGV, 3 do
  local ulid, token = ARGV[i], ARGV[i + 1]
  local key = P .. 'j:' .. ulid
  local v = call('HMGET', key, 's', 'l', 'k', 'rv', 'v', 'g', 'n', 'dv', 'ag')
  local word = 'STALE'
  if v[2] and v[3] == token and not v[4] then
    if v[1] == 's' then
      local version = num(v[5] or 1) + 1
      call('HSET', key, 's', 'r', 'st', ARGV[i + 2], 'v', version)
      moved(v[6], 's', 'r')
      event(ulid, version, 'r', v[7], nil, v[8], v[9])
      word = 'APPLIED'
    else
      word = 'REPLAYED'
    end
  end
  answer[#answer + 1] = word
end
write_all()
return answer
