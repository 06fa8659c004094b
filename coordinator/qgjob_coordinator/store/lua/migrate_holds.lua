-- Schema 4 to 5: the hold of an agent or a device from the time when there was one field for all kinds goes to the field
-- of its kind. It is newer than what stands there. May be repeated, and what was moved is left alone.
-- KEYS    1 prefix of the fleet
-- ARGV    1 schema while the move goes on 2 who carries it out; then agents, whose devices come with them
-- RETURNS number of holds that were moved, or -1 when another one carries the move out by now
local F = KEYS[1]
local call = redis.call
local FIELD = { draining = 'hold:draining', reserved = 'hold:reserved', maintenance = 'hold:health', bad = 'hold:health' }
if call('GET', F .. 'schema') ~= ARGV[1] or call('HGET', F .. 'mg', 'who') ~= ARGV[2] then return -1 end
local moved = 0
local function move(key)
  local old = call('HGET', key, 'hold')
  if not old then return end
  call('HSET', key, FIELD[cjson.decode(old).k], old)
  call('HDEL', key, 'hold')
  moved = moved + 1
end
call('HINCRBY', F .. 'mg', 'count', 1)
for i = 3, #ARGV do
  move(F .. 'ag:' .. ARGV[i])
  for _, device in ipairs(call('SMEMBERS', F .. 'da:' .. ARGV[i])) do move(F .. 'dv:' .. device) end
end
return moved
