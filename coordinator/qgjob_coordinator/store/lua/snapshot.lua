-- What a planning round needs of one org.
-- KEYS    1 prefix of the org
-- ARGV    1 heads of each queue; of one with no more jobs than 2 for each device that serves its group and for one
--         that joins (policy/planning/batch) all of them, but no more than 3; from 4 on: slots of builds
-- RETURNS {held, next delayed (ms) or '', next queue deadline (ms) or '', typical duration of the org, group, ...};
--         held counts scheduled and running jobs; a group is {gid, app version, target, unfinished, installs, {device,
--         attempts, ...}, its typical duration, pushed, queue, ...}; a queue is {signature, waiting, member, score, ...};
--         a typical duration is as lib/average keeps it, or ''; pushed of a group with queues has a digit for
--         each slot for which the app version has a build, the first slot's being 1
local P = KEYS[1]
local call = redis.call
local heads, per_device, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local n = call('HMGET', P .. 'ct', 'se', 'sd', 'sb', 're', 'rd', 'rb')
local held = 0
for i = 1, 6 do held = held + (tonumber(n[i]) or 0) end
local delayed = call('ZRANGE', P .. 'dl', 0, 0, 'WITHSCORES')
local deadline = call('ZRANGE', P .. 'qx', 0, 0, 'WITHSCORES')
local answer = { held, delayed[2] or '', deadline[2] or '', call('HGET', P .. 'est', '*') or '' }
local any_build, named = call('HLEN', P .. 'bd') > 0, {}
for _, gid in ipairs(call('SMEMBERS', P .. 'gs')) do
  local h = call('HGETALL', P .. 'g:' .. gid)
  local serving = call('HGETALL', P .. 'gd:' .. gid)
  local near = per_device * (#serving / 2 + 1)
  local group = { gid, '', '', 0, 0, serving, '', '' }
  for i = 1, #h, 2 do
    local f, x = h[i], h[i + 1]
    if f == 'a' then group[2] = x
    elseif f == 't' then group[3] = x
    elseif f == 'u' then group[4] = tonumber(x)
    elseif f == 'i' then group[5] = tonumber(x)
    elseif f == 'm' then group[7] = x
    else
      local key = P .. 'q:' .. gid .. ':' .. string.sub(f, 3)
      local queue = heads > 0 and call('ZRANGE', key, 0, heads - 1, 'WITHSCORES') or {}
      local waiting = #queue / 2
      if heads == 0 or waiting == heads then
        waiting = call('ZCARD', key)
        if heads > 0 and heads < waiting and waiting <= near then
          queue = call('ZRANGE', key, 0, math.min(waiting, most) - 1, 'WITHSCORES')
        end
      end
      if waiting > 0 then
        table.insert(queue, 1, waiting)
        table.insert(queue, 1, string.sub(f, 3))
        group[#group + 1] = queue
      end
    end
  end
  if any_build and #group > 8 then
    for i = 4, #ARGV do named[i - 3] = group[2] .. ' ' .. ARGV[i] end
    for i, found in ipairs(call('HMGET', P .. 'bd', unpack(named))) do
      if found then group[8] = group[8] .. i end
    end
  end
  answer[#answer + 1] = group
end
return answer
