-- Takes a build from its app version; its content is left to whoever removes what has no name.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 app version, platform and kind 3 the value that was found there
-- RETURNS OK, or MOVED when another one stands there now
local P = KEYS[1]
if redis.call('HGET', P .. 'bd', ARGV[2]) ~= ARGV[3] then return 'MOVED' end
local digest = string.match(ARGV[3], '^%d+ %S+ (%S+) ')
local names, facts = string.match(redis.call('HGET', P .. 'bc', digest) or '', '^(%d+) %S+ (.*)$')
redis.call('HDEL', P .. 'bd', ARGV[2])
if names then
  redis.call('HSET', P .. 'bc', digest, string.format('%.0f', tonumber(names) - 1) .. ' ' .. ARGV[1] .. ' ' .. facts)
end
return 'OK'
