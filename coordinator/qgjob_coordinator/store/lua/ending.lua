-- Who cancels the marked runs of the org: takes that upon itself, goes on with it, or leaves it. Another's is not touched.
-- KEYS    1 prefix of the org
-- ARGV    1 token of who asks 2 ms to have it for, '0' to leave it 3 '1' to take what nobody has, else ''
-- RETURNS MINE, NOBODYS, ANOTHERS: whose it was, or has become
local P = KEYS[1]
local holder = redis.call('GET', P .. 'er')
if not holder and ARGV[3] ~= '1' then return 'NOBODYS' end
if holder and holder ~= ARGV[1] then return 'ANOTHERS' end
if ARGV[2] == '0' then
  redis.call('DEL', P .. 'er')
else
  redis.call('SET', P .. 'er', ARGV[1], 'PX', ARGV[2])
end
return 'MINE'
