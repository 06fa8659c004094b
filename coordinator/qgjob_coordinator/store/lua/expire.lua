-- Ends queued jobs without another attempt: those that waited longer than they were allowed to, and those for whose
-- devices no build was pushed.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 outcome; then for each: ulid, error line (JSON) without the round and brace, the version that was
--         judged or '' (its deadline must have come), names of the builds that must not be there, with commas between
-- RETURNS for each: what was done (see `told`), or '' (not queued; its deadline has not come; another version, or one of
--         the builds is there)
--!include lib/org
--!include lib/attempt
local WIDTH = 4
local now, outcome, answer = ARGV[1], ARGV[2], {}
load_ahead(ARGV, 3, WIDTH)
local pushed = {}
for i = 6, #ARGV, WIDTH do
  for name in string.gmatch(ARGV[i], '[^,]+') do
    if call('HEXISTS', P .. 'bd', name) == 1 then pushed[ARGV[i]] = true end
  end
end
for i = 3, #ARGV, WIDTH do
  local ulid, seen = ARGV[i], ARGV[i + 2]
  local j = load(ulid)
  local done = ''
  if j and j.s == 'q' and (seen == '' and j.qd and num(j.qd) <= num(now)
      or seen ~= '' and j.v == next_version(seen) and not pushed[ARGV[i + 3]]) then
    call('ZREM', P .. 'q:' .. j.g .. ':' .. signature(j.sb, j.av), queued_as(ulid, j.x))
    call('ZREM', P .. 'dl', ulid)
    call('HDEL', P .. 'j:' .. ulid, 'nb')
    j.nb = nil
    keep(ulid, ARGV[i + 1] .. ',"r":' .. j.r .. '}')
    verdict(j, now, 'f', outcome)
    done = told(j, 'N', j.n)
  elseif not j or j.s ~= 'q' then
    call('ZREM', P .. 'qx', ulid)   -- asked for again when the job is requeued
  end
  answer[#answer + 1] = done
end
write_attempts()
return answer
