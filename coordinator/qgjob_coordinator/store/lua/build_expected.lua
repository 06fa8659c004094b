-- A content is about to be kept: it is known before its bytes are, so that none is left without a name for ever.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 digest 3 what it is (JSON)
-- RETURNS OK, or LEAVING while it is being removed
local contents, digest = KEYS[1] .. 'bc', ARGV[2]
local found = redis.call('HGET', contents, digest)
local names, facts = '0', ARGV[3]
if found then
  local mark
  names, mark = string.match(found, '^(%d+) (%S+) ')
  if string.find(mark, 'leaving', 1, true) then return 'LEAVING' end
end
redis.call('HSET', contents, digest, names .. ' ' .. ARGV[1] .. ' ' .. facts)
return 'OK'
