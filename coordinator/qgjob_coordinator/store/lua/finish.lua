-- Attempts ended with an outcome of their own; their trees are dead.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 to 7 rules of retries (see LeaseStore); then for each attempt: ulid, token, a letter for its
--         charge (P passed, T, I, N, F) and those that hold (l: it has a log, i: it waited for an installation, s: its
--         start is reported with it, a: a retry avoids its device, h: its host, and not its device), started (ms), ended
--         (ms), what it tells of its test (see `learn`) or '', what was measured (JSON: duration, install, result), and
--         if it did not pass: outcome, share of the backoff (0..1) and error (JSON), with spaces between
-- RETURNS for each: word (APPLIED, REPLAYED, STALE), status now and target (two letters, '' if unknown), and what it
--         did: APPLIED, the job's outcome, or not_before of its retry, or ''; STALE, what ending a revoked lease did
--         (see `told`), or ''
--!include lib/org
--!include lib/attempt
--!include lib/average
--!include lib/learn
local WIDTH = 8
local now, answer = ARGV[1], {}
local retry = rules()
local lessons = {}
load_ahead(ARGV, RULES_END + 1, WIDTH)
tokens_ahead(RULES_END + 1, WIDTH)
-- What is learned is written last. That it can be is seen before the first job is changed.
local teaches = false
for i = RULES_END + 1, #ARGV, WIDTH do
  if ARGV[i + 5] ~= '' then teaches = true end
  if string.find(ARGV[i + 7], 'device_error ', 1, true) == 1 then kept_of(ARGV[i]) end   -- for `broke_before`
end
if teaches then call('HLEN', P .. 'est') end
for i = RULES_END + 1, #ARGV, WIDTH do
  local ulid, token, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local j = load(ulid)
  local word, wait = 'STALE', ''
  if j and j.l and j.k == token then
    if j.rv then
      wait = release(j, now, ARGV[i + 4], 'N', '', retry)
    else
      word = 'APPLIED'
      if j.s == 's' and string.find(kind, 's', 1, true) then
        event(ulid, j.v, 'r', j.n, nil, j.dv, j.ag)
        j.v = next_version(j.v)   -- j.s stays what the counts have: it moves once, to where it ends
      end
      if ARGV[i + 5] ~= '' then lessons[#lessons + 1] = { j, ARGV[i + 5] } end
      if string.find(kind, 'i', 1, true) then
        call('HINCRBY', P .. 'g:' .. j.g, 'i', 1)
      else
        count('saved', 1)
      end
      if ARGV[i + 7] == '' then
        wait = num(j.tr) > 0 and 'flaky' or 'passed'
        passed(j, now, ARGV[i + 3], ARGV[i + 4], ARGV[i + 6], wait)
      else
        local outcome, share, failure = string.match(ARGV[i + 7], '^(%S+) (%S+) (.*)$')
        retry.share, retry.elsewhere = share, string.find(kind, 'a', 1, true)
        retry.host_unfit = string.find(kind, 'h', 1, true)
        record(j, ARGV[i + 3], ARGV[i + 4], '"' .. outcome .. '",' .. ARGV[i + 6] .. ',' .. failure)
        drop_lease(j)
        fail(j, now, outcome, string.sub(kind, 1, 1), retry)
        clear_lease(j)
        wait = j.s == 'q' and (j.nb or '') or outcome
      end
    end
    -- The tail of an attempt that is retried ends with the verdict, as those before it: see `verdict`.
    if string.find(kind, 'l', 1, true) and j.s ~= 'q' then log_ends(ulid, j.n) end
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
