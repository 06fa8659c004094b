-- A coordinator takes up the move of the store from one schema to the next, goes on with it, or ends it. One at a time:
-- whoever is at it raises a count with each of its steps, and is followed when the count was seen to stand still.
-- KEYS    1 prefix of the fleet
-- ARGV    1 schema now 2 next schema 3 who asks 4 who was seen to stand still, or '' 5 the count it stands at
--         6 'done' when all steps are carried out, else ''
-- RETURNS {word, who, count}: MINE (carry out the steps), OTHER (who is at it, and its count), DONE (the store has the next
--         schema), ELSE (it has a third one, which is `who`). While the move goes on the schema is `now>next`
local F, from, to, me = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local mark = from .. '>' .. to
local schema = call('GET', F .. 'schema')
if schema == to then return { 'DONE', '', 0 } end
if schema ~= from and schema ~= mark then return { 'ELSE', schema or '', 0 } end
local v = call('HMGET', F .. 'mg', 'who', 'count')
local who, count = v[1] or '', v[2] or '0'
if schema == mark and who ~= me and (ARGV[6] ~= '' or who ~= ARGV[4] or count ~= ARGV[5]) then
  return { 'OTHER', who, tonumber(count) }
end
if ARGV[6] ~= '' then
  call('SET', F .. 'schema', to)
  call('DEL', F .. 'mg')
  return { 'DONE', '', 0 }
end
call('SET', F .. 'schema', mark)
call('HSET', F .. 'mg', 'who', me)
return { 'MINE', me, call('HINCRBY', F .. 'mg', 'count', 1) }
