-- Where queued jobs stand: how many of their group's ready jobs are served before them, plus one.
-- KEYS    1 prefix of the org
-- ARGV    ulids
-- RETURNS a number each; 0 for a job that is on no queue
--!include lib/org
local answer = {}
for i = 1, #ARGV do
  local v = call('HMGET', P .. 'j:' .. ARGV[i], 'i', 'sb', 'av')
  local place = 0
  local gid, order, priority, _, x = parts_of(v[1] or '')
  if gid and call('ZSCORE', P .. 'q:' .. gid .. ':' .. signature(v[2], v[3]), queued_as(ARGV[i], x)) then
    local before = '(' .. string.format('%.0f', score(priority, order, x))
    place = 1
    for _, f in ipairs(call('HKEYS', P .. 'g:' .. gid)) do
      if string.sub(f, 1, 2) == 'q:' then
        place = place + call('ZCOUNT', P .. 'q:' .. gid .. ':' .. string.sub(f, 3), '-inf', before)
      end
    end
  end
  answer[i] = place
end
return answer
