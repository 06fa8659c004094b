-- Puts waiting retries whose time has come on their queues.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 at most so many; then those of them that stay where they are: they can't be used
-- RETURNS for each job promoted: ulid, attempts so far
--!include lib/org
local due = call('ZRANGEBYSCORE', P .. 'dl', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
local promoted, jobs, stay = {}, {}, {}
for i = 3, #ARGV do stay[ARGV[i]] = true end
-- All are read before the first is changed: one that can't be used leaves the others as they were.
for _, ulid in ipairs(due) do
  if not stay[ulid] then
    local v = call('HMGET', P .. 'j:' .. ulid, 's', 'l', 'i', 'sb', 'av', 'v', 'n')
    if (v[1] or v[3]) and not (STATES[v[1]] and parts_of(v[3] or '') and tonumber(v[7] or 0)) then damaged() end
    -- A lease that can't be read, or none where there is to be one: it would be taken for one that does not wait.
    if v[2] then
      if not lease_of(v[2]) then damaged() end
    elseif STATES[v[1]] == 1 then
      damaged()
    end
    v[8] = ulid
    jobs[#jobs + 1] = v
  end
end
for _, v in ipairs(jobs) do
  local ulid = v[8]
  local key = P .. 'j:' .. ulid
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
