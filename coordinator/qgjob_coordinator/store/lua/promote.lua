-- Puts waiting retries whose time has come on their queues.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 at most so many
-- RETURNS for each job promoted: ulid, attempts so far
--!include lib/org
local due = call('ZRANGEBYSCORE', P .. 'dl', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
local promoted, jobs = {}, {}
-- All are read before the first is changed: one that can't be used leaves the others as they were.
for i, ulid in ipairs(due) do jobs[i] = call('HMGET', P .. 'j:' .. ulid, 's', 'l', 'i', 'sb', 'av', 'v', 'n') end
for i, ulid in ipairs(due) do
  local key, v = P .. 'j:' .. ulid, jobs[i]
  call('ZREM', P .. 'dl', ulid)
  if v[1] == 'q' then
    call('HDEL', key, 'nb')
    local gid, order, priority, _, x = parts_of(v[3])
    if not v[2] then enqueue(ulid, gid, signature(v[4], v[5]), priority, order, x) end
    local version = next_version(v[6])
    call('HSET', key, 'v', version, 'u', ARGV[1])
    event(ulid, version, 'q', v[7] or '0', nil, nil, nil)
    promoted[#promoted + 1] = ulid
    promoted[#promoted + 1] = num(v[7])
  end
end
write_all()
return promoted
