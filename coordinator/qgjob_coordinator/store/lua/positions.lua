-- Where queued jobs stand: how many of their group's ready jobs are served before them, plus one.
-- KEYS    1 prefix of the org
-- ARGV    ulids
-- RETURNS a number each; 0 for a job that is on no queue
--!include lib/org
local answer = {}
for i = 1, #ARGV do
  local v = call('HMGET', P .. 'j:' .. ARGV[i], 'g', 'p', 'o', 'sb', 'av', 'x')
  local place = 0
  if v[1] and call('ZSCORE', P .. 'q:' .. v[1] .. ':' .. signature(v[4], v[5]), queued_as(ARGV[i], v[6])) then
    local before = '(' .. string.format('%.0f', score(v[2], v[3], v[6]))
    place = 1
    for _, f in ipairs(call('HKEYS', P .. 'g:' .. v[1])) do
      if string.sub(f, 1, 2) == 'q:' then
        place = place + call('ZCOUNT', P .. 'q:' .. v[1] .. ':' .. string.sub(f, 3), '-inf', before)
      end
    end
  end
  answer[i] = place
end
return answer
