-- Puts waiting retries whose time has come on their queues.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 at most so many
-- RETURNS for each job promoted: ulid, attempts so far
--!include lib/org
local due = call('ZRANGEBYSCORE', P .. 'dl', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
local promoted = {}
for _, ulid in ipairs(due) do
  local key = P .. 'j:' .. ulid
  local v = call('HMGET', key, 's', 'l', 'g', 'sb', 'av', 'p', 'o', 'v', 'n', 'x')
  call('ZREM', P .. 'dl', ulid)
  if v[1] == 'q' then
    call('HDEL', key, 'nb')
    if not v[2] then enqueue(ulid, v[3], signature(v[4], v[5]), v[6], v[7], v[10]) end
    local version = next_version(v[8])
    call('HSET', key, 'v', version, 'u', ARGV[1])
    event(ulid, version, 'q', v[9] or '0', nil, nil, nil)
    promoted[#promoted + 1] = ulid
    promoted[#promoted + 1] = num(v[9])
  end
end
write_all()
return promoted
