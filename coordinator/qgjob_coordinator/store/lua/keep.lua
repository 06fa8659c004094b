-- Renews the bond of a run with a client, or ends it.
-- KEYS    1 prefix of the org
-- ARGV    1 run 2 client 3 '1' to end it, else ''
-- RETURNS OK, MISSING
local P, field = KEYS[1], ARGV[1] .. ' ' .. ARGV[2]
local found = redis.call('HGET', P .. 'bo', field)
if not found then return 'MISSING' end
if ARGV[3] == '1' then
  redis.call('HDEL', P .. 'bo', field)
else
  local after, counter = string.match(found, '^(%S+) (%S+)$')
  redis.call('HSET', P .. 'bo', field, after .. ' ' .. string.format('%.0f', tonumber(counter) + 1))
end
return 'OK'
