-- Attempts ended with an outcome of their own; their trees are dead.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 to 7 rules of retries (see LeaseStore) 8 log ttl (ms); then for each attempt: ulid, token,
--         outcome, charge (P passed, T, I, F), started (ms), ended (ms), flags (l: it has a log, i: it waited for an
--         installation, s: its start is reported with it), share of the backoff (0..1), what it tells of its test (see
--         `learn`) or '', what was measured (JSON: duration, install, result), error (JSON)
-- RETURNS for each: word (APPLIED, REPLAYED, STALE), status now and target (two letters, '' if unknown), and what it
--         did: APPLIED, the job's outcome, or not_before of its retry, or ''; STALE, what ending a revoked lease did
--         (see `told`), or ''
--!include lib/org
--!include lib/attempt
--!include lib/average
--!include lib/learn
local WIDTH = 11
local now, answer = ARGV[1], {}
local retry, log_ttl = rules(), ARGV[RULES_END + 1]
local lessons = {}
for i = RULES_END + 2, #ARGV, WIDTH do
  local ulid, token, outcome, charge = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local j = load(ulid)
  local word, wait = 'STALE', ''
  if j and j.l and j.k == token then
    if string.find(ARGV[i + 6], 'l', 1, true) then call('PEXPIRE', P .. 'lg:' .. ulid .. ':' .. j.n, log_ttl) end
    if j.rv then
      wait = release(j, now, ARGV[i + 5], 'N', '', retry)
    else
      word = 'APPLIED'
      if j.s == 's' and string.find(ARGV[i + 6], 's', 1, true) then
        event(ulid, j.v, 'r', j.n, nil, j.dv, j.ag)
        j.v = next_version(j.v)   -- j.s stays what the counts have: it moves once, to where it ends
      end
      retry.share = ARGV[i + 7]
      if ARGV[i + 8] ~= '' then lessons[#lessons + 1] = { j, ARGV[i + 8] } end
      if string.find(ARGV[i + 6], 'i', 1, true) then
        count('installs', 1)
        call('HINCRBY', P .. 'g:' .. j.g, 'i', 1)
      else
        count('saved', 1)
      end
      if charge == 'P' then
        wait = num(j.tr) > 0 and 'flaky' or 'passed'
        passed(j, now, ARGV[i + 4], ARGV[i + 5], ARGV[i + 9], wait)
      else
        record(j, ARGV[i + 4], ARGV[i + 5], '"' .. outcome .. '",' .. ARGV[i + 9] .. ',' .. ARGV[i + 10])
        drop_lease(j)
        fail(j, now, outcome, charge, retry)
        clear_lease(j)
      end
      if j.s == 'q' then wait = j.nb or '' end
      if j.s == 'f' then wait = outcome end
    end
  elseif j and had_token(j, token) then
    word = 'REPLAYED'
  end
  answer[#answer + 1] = word
  answer[#answer + 1] = j and j.s .. string.sub(j.g, 1, 1) or ''
  answer[#answer + 1] = wait
end
if #lessons > 0 then learn(lessons) end
write_attempts()
return answer
