-- Forgets the queues of groups that are empty now. Queues come back with their next job.
-- KEYS    1 prefix of the org
-- ARGV    none
-- RETURNS number of queues forgotten
local P = KEYS[1]
local call = redis.call
local gone = 0
for _, gid in ipairs(call('SMEMBERS', P .. 'gs')) do
  for _, f in ipairs(call('HKEYS', P .. 'g:' .. gid)) do
    if string.sub(f, 1, 2) == 'q:' and call('EXISTS', P .. 'q:' .. gid .. ':' .. string.sub(f, 3)) == 0 then
      call('HDEL', P .. 'g:' .. gid, f)
      gone = gone + 1
    end
  end
end
return gone
