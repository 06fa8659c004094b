-- Starts a new round of failed or cancelled jobs.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 operation id or '' 3 digest of what was asked for 4 operation ttl (ms); then for each job:
--         ulid, round meant, queue deadline or ''
-- RETURNS for each: ulid, word (QUEUED, ILLEGAL, ROUND, MISSING, EQUAL), status letter, round, the equal unfinished job
--         or ''; {REUSED} when the operation id was used for another
--!include lib/org
--!include lib/attempt
--!include lib/operation
local now = ARGV[1]
local TARGETS = { e = 'emulator', d = 'device', b = 'browserstack' }   -- by the first letter of a group's id
local first = first_answer('retry', ARGV[2], ARGV[3])
if first then return first end
local answer, specs = {}, {}
load_ahead(ARGV, 5, 3)
for i = 5, #ARGV, 3 do
  -- A group may have gone with its last job: its name comes from the spec.
  if ahead[ARGV[i]] then
    local spec = cjson.decode(string.match(call('GET', P .. 'd:' .. ARGV[i]) or '', '^[^\n]*'))
    specs[ARGV[i]] = type(spec.a) == 'string' and spec or damaged()
  end
end
for i = 5, #ARGV, 3 do
  local ulid, meant, deadline = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local j = load(ulid)
  local word, equal = 'MISSING', ''
  if j then
    local holder = j.f and call('HGET', P .. 'dd', j.f)
    if meant ~= j.r then
      word = 'ROUND'
    elseif j.s ~= 'f' and j.s ~= 'x' then
      word = 'ILLEGAL'
    elseif holder and holder ~= ulid then
      word, equal = 'EQUAL', holder
    else
      word = 'QUEUED'
      local spec = specs[ulid]
      local key = P .. 'j:' .. ulid
      local from = j.s
      j.r = text[num(j.r) + 1]
      call('HDEL', key, 'oc', 'tr', 'ir', 'ou', 'pz', 'av', 'nb', 'qd')
      call('HSET', key, 's', 'q', 'r', j.r, 'v', j.v, 'u', now)
      call('ZREM', P .. 'ix:' .. from, ulid)
      call('ZADD', P .. 'ix:a', j.o, ulid)
      if j.f then call('HSET', P .. 'dd', j.f, ulid) end
      if deadline ~= '' then
        call('HSET', key, 'qd', deadline)
        later('ZADD', P .. 'qx', deadline, ulid)
      end
      later('HSET', P .. 'g:' .. j.g, 'a', spec.a)
      later('HSET', P .. 'g:' .. j.g, 't', TARGETS[string.sub(j.g, 1, 1)])
      later('SADD', P .. 'gs', j.g)
      if may_overflow(j) then
        call('HSET', key, 'ov', string.match(j.ov, '^%S+ %S+') .. ' ' .. now)   -- its wait counts from now on
        later('ZADD', P .. 'ov', now, ulid)
      end
      -- While the old tree lives its lease stays; the job is put on its queue when that ends.
      if not j.l then enqueue(ulid, j.g, signature(j.sb, nil), j.p, j.o, j.x) end
      group_grows(j.g, 1)
      moved(j.g, from, 'q')
      event(ulid, j.v, 'q', j.n, nil, nil, nil)
      j.s = 'q'
    end
  end
  answer[#answer + 1] = ulid
  answer[#answer + 1] = word
  answer[#answer + 1] = j and j.s or ''
  answer[#answer + 1] = j and j.r or ''
  answer[#answer + 1] = equal
end
write_attempts()
keep_answer('retry', ARGV[2], ARGV[3], answer, ARGV[4])
return answer
