-- Leases end without an outcome: given back, killed by the agent, or revoked and dead.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 to 7 rules of retries (see LeaseStore); then for each: ulid, token, ended (ms), charge
--         of a started one (L agent lost, O outage, I, N), share of the backoff, record (JSON, as in finish)
-- RETURNS for each: word (APPLIED, REPLAYED, STALE), and what was done (see `told`) or ''
--!include lib/org
--!include lib/attempt
local now, answer = ARGV[1], {}
local retry = rules()
load_ahead(ARGV, RULES_END + 1, 6)
tokens_ahead(RULES_END + 1, 6)
for i = RULES_END + 1, #ARGV, 6 do
  local ulid, token = ARGV[i], ARGV[i + 1]
  local j = load(ulid)
  local word, done = 'STALE', ''
  if j and j.l and j.k == token then
    retry.share = ARGV[i + 4]
    done = release(j, now, ARGV[i + 2], ARGV[i + 3], ARGV[i + 5], retry)
    word = 'APPLIED'
  elseif j and had_token(j, token) then
    word = 'REPLAYED'
  end
  answer[#answer + 1] = word
  answer[#answer + 1] = done
end
write_attempts()
return answer
