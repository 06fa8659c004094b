-- Ends queued jobs that waited longer than they were allowed to.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms); then for each: ulid, error line (JSON) without the round and brace
-- RETURNS for each: what was done (see `told`), or '' (not queued, or its deadline has not come)
--!include lib/org
--!include lib/attempt
local now, answer = ARGV[1], {}
load_ahead(ARGV, 2, 2)
for i = 2, #ARGV, 2 do
  local ulid = ARGV[i]
  local j = load(ulid)
  local done = ''
  if j and j.s == 'q' and j.qd and num(j.qd) <= num(now) then
    call('ZREM', P .. 'q:' .. j.g .. ':' .. signature(j.sb, j.av), queued_as(ulid, j.x))
    call('ZREM', P .. 'dl', ulid)
    call('HDEL', P .. 'j:' .. ulid, 'nb')
    j.nb = nil
    keep(ulid, ARGV[i + 1] .. ',"r":' .. j.r .. '}')
    verdict(j, now, 'f', 'expired')
    done = told(j, 'N', j.n)
  elseif not j or j.s ~= 'q' then
    call('ZREM', P .. 'qx', ulid)   -- asked for again when the job is requeued
  end
  answer[#answer + 1] = done
end
write_attempts()
return answer
