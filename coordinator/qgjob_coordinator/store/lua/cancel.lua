-- Cancels jobs, or takes them off a run.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 operation id or '' 3 digest of what was asked for 4 operation ttl (ms) 5 run to leave or ''
--         6 error line (JSON) without the round and brace 7 ttl of the run's name when jobs only left it (ms); then for
--         each job: ulid, round meant or ''
-- RETURNS for each: ulid, word (CANCELLED, ALREADY, ILLEGAL, ROUND, MISSING, DETACHED, OUTSIDE), status letter, round,
--         agent and token to revoke or '', letter of the target; {REUSED} when the operation id was used for another
--!include lib/org
--!include lib/attempt
--!include lib/operation
local now, run = ARGV[1], ARGV[5]
local first = first_answer('cancel', ARGV[2], ARGV[3])
if first then return first end
local answer = {}
load_ahead(ARGV, 8, 2)
for i = 8, #ARGV, 2 do
  local ulid, meant = ARGV[i], ARGV[i + 1]
  local j = load(ulid)
  local word, agent, token = 'MISSING', '', ''
  if j then
    word = 'CANCELLED'
    if meant ~= '' and meant ~= j.r then
      word = 'ROUND'
    elseif j.s == 'x' then
      word = 'ALREADY'
    elseif j.s == 'c' or j.s == 'f' then
      word = 'ILLEGAL'
    elseif run ~= '' then
      local left, inside = {}, false
      for x in string.gmatch(call('HGET', P .. 'j:' .. ulid, 'rn') or '.', '[^,]+') do
        if x == run then inside = true else left[#left + 1] = x end
      end
      if not inside then
        word = 'OUTSIDE'
      elseif #left > 0 then
        call('HSET', P .. 'j:' .. ulid, 'rn', table.concat(left, ','), 'v', j.v, 'u', now)
        call('ZREM', P .. 'rj:' .. run, ulid)
        call('SET', P .. 'rl:' .. run, now, 'PX', ARGV[7])
        event(ulid, j.v, j.s, j.n, nil, nil, nil)
        word = 'DETACHED'
      end
    end
    if word == 'CANCELLED' then
      if j.s == 'q' then
        call('ZREM', P .. 'q:' .. j.g .. ':' .. signature(j.sb, j.av), queued_as(ulid, j.x))
        call('ZREM', P .. 'dl', ulid)
        call('HDEL', P .. 'j:' .. ulid, 'nb')
      end
      if j.l and not j.rv then
        agent, token = j.ag, j.k
        call('HSET', P .. 'j:' .. ulid, 'rv', '1', 'ar', j.r)
        later('SADD', P .. 'rv:' .. j.ag, ulid .. ' ' .. j.k)
      end
      keep(ulid, ARGV[6] .. ',"r":' .. j.r .. '}')
      verdict(j, now, 'x', 'cancelled')
    end
  end
  answer[#answer + 1] = ulid
  answer[#answer + 1] = word
  answer[#answer + 1] = j and j.s or ''
  answer[#answer + 1] = j and j.r or ''
  answer[#answer + 1] = agent
  answer[#answer + 1] = token
  answer[#answer + 1] = j and string.sub(j.g, 1, 1) or ''
end
write_attempts()
keep_answer('cancel', ARGV[2], ARGV[3], answer, ARGV[4])
return answer
