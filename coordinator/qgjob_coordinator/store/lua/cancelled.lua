-- What was unfinished in runs that were to be cancelled has been: takes their marks away, each if it is still the same.
-- KEYS    1 prefix of the org
-- ARGV    for each: run, mark and reason as they were found
-- RETURNS a word each: OK, MOVED (there is more to cancel)
local P = KEYS[1]
local answer = {}
for i = 1, #ARGV, 2 do
  local found = redis.call('HGET', P .. 'rc', ARGV[i])
  local word = 'MOVED'
  if not found or found == ARGV[i + 1] then
    word = 'OK'
    redis.call('HDEL', P .. 'rc', ARGV[i])
  end
  answer[#answer + 1] = word
end
return answer
