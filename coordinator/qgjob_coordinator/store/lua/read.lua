-- Jobs as they stand.
-- KEYS    1 prefix of the org
-- ARGV    ulids; an alias answers with its job
-- RETURNS for each: {ulid, fields, kept text}, or {} when there is no such job
local P = KEYS[1]
local call = redis.call
local answer = {}
for i = 1, #ARGV do
  local ulid = ARGV[i]
  local fields = call('HGETALL', P .. 'j:' .. ulid)
  if #fields == 0 then
    local alias = call('GET', P .. 'al:' .. ulid)
    if alias then
      ulid = string.match(alias, '^%S+')
      fields = call('HGETALL', P .. 'j:' .. ulid)
    end
  end
  if #fields == 0 then
    answer[i] = {}
  else
    answer[i] = { ulid, fields, call('GET', P .. 'd:' .. ulid) or '' }
  end
end
return answer
