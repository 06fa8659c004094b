-- Removes a content that has no name, in two steps by one remover: between them its bytes are deleted, and nobody can name
-- it.
-- KEYS    1 prefix of the org
-- ARGV    1 digest 2 the value that was found there 3 now (ms), which names the remover; '' when the bytes are gone
-- RETURNS the value that stands there now, to be named in the second step; '' after that. MOVED when it has a name or
--         another value by now. The first step is answered again to its remover.
local contents, digest = KEYS[1] .. 'bc', ARGV[1]
local found = redis.call('HGET', contents, digest)
local names, facts = string.match(found or '', '^(%d+) %S+ (.*)$')
if names ~= '0' then return 'MOVED' end
local mine = '0 leaving:' .. ARGV[3] .. ' ' .. facts
if found == mine then return mine end
if found ~= ARGV[2] then return 'MOVED' end
if ARGV[3] == '' then
  redis.call('HDEL', contents, digest)
  return ''
end
redis.call('HSET', contents, digest, mine)
return mine
