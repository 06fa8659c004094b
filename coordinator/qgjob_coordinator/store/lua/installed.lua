-- Counts installations for their groups, and attempts that found their build installed.
-- KEYS    1 prefix of the org
-- ARGV    1 installs saved; then for each installation: gid
-- RETURNS 1
local P = KEYS[1]
for i = 2, #ARGV do
  if redis.call('EXISTS', P .. 'g:' .. ARGV[i]) == 1 then redis.call('HINCRBY', P .. 'g:' .. ARGV[i], 'i', 1) end
end
if #ARGV > 1 then redis.call('HINCRBY', P .. 'ct', 'installs', #ARGV - 1) end
if ARGV[1] ~= '0' then redis.call('HINCRBY', P .. 'ct', 'saved', ARGV[1]) end
return 1
