-- Which jobs ids lead to.
-- KEYS    1 prefix of the org
-- ARGV    ulids
-- RETURNS for each the ulid of its job, of an alias that of the job it stands for; '' when there is no such job
local P = KEYS[1]
local call = redis.call
local answer = {}
for i = 1, #ARGV do
  local ulid = ARGV[i]
  if call('EXISTS', P .. 'j:' .. ulid) == 0 then
    local alias = call('GET', P .. 'al:' .. ulid)
    ulid = alias and string.match(alias, '^%S+') or ''
    if ulid ~= '' and call('EXISTS', P .. 'j:' .. ulid) == 0 then
      ulid = ''
    end
  end
  answer[i] = ulid
end
return answer
