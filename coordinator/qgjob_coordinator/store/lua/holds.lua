-- The number of the newest hold; or (with arguments) that an agent's coordinator plans by all up to one.
-- KEYS    1 prefix of the fleet
-- ARGV    none, or 1 agent 2 epoch 3 number
-- RETURNS the number of the newest hold
local F = KEYS[1]
if #ARGV > 0 and redis.call('HGET', F .. 'ag:' .. ARGV[1], 'epoch') == ARGV[2] then
  redis.call('HSET', F .. 'ag:' .. ARGV[1], 'holds_seen', ARGV[3])
end
return tonumber(redis.call('HGET', F .. 'store', 'holds') or 0)
