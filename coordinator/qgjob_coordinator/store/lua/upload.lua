-- Which agent takes a content to the store of a provider of devices, and where it is then.
-- KEYS    1 prefix of the fleet
-- ARGV    1 account 2 digest 3 token 4 lifetime of what is written (ms) 5 where the content is, '' (the agent wants to
--         upload it) or '-' (it gives up)
-- RETURNS {word, where}: YOURS, TAKEN, KNOWN (and where), STALE (it is not the agent's), FREE (nobody's)
local key, call = KEYS[1] .. 'up:' .. ARGV[1] .. ':' .. ARGV[2], redis.call
local mine = 'held ' .. ARGV[3]
local found = call('GET', key) or mine
local known = string.match(found, '^known (.*)$')
if ARGV[5] == '-' then
  if found ~= mine then return { 'STALE', '' } end
  call('DEL', key)
  return { 'FREE', '' }
end
if known then return { 'KNOWN', known } end
if found ~= mine then
  if ARGV[5] == '' then return { 'TAKEN', '' } end
  return { 'STALE', '' }
end
if ARGV[5] == '' then
  call('SET', key, mine, 'PX', ARGV[4])
  return { 'YOURS', '' }
end
if call('EXISTS', key) == 0 then return { 'STALE', '' } end
call('SET', key, 'known ' .. ARGV[5], 'PX', ARGV[4])
return { 'KNOWN', ARGV[5] }
