-- What an observer acts on: a change of a session's state, only if nothing was renewed since it looked.
-- KEYS    1 prefix of the fleet
-- ARGV    1 agent 2 epoch 3 counter seen, or -1 for any 4 state: timed_out, detached (its stream ended) or closed
-- RETURNS OK, or MOVED when another epoch or counter stands there, or it is closed already
local F, agent = KEYS[1], ARGV[1]
local key = F .. 'ag:' .. agent
local v = redis.call('HMGET', key, 'epoch', 'counter', 'state')
if v[1] ~= ARGV[2] or (ARGV[3] ~= '-1' and v[2] ~= ARGV[3]) or v[3] == 'closed' then return 'MOVED' end
redis.call('HSET', key, 'state', ARGV[4])
if ARGV[4] == 'closed' then
  redis.call('HINCRBY', key, 'counter', 1)
  redis.call('SADD', F .. 'sw', agent .. ' ' .. ARGV[2])
end
return 'OK'
