-- Removes a content that has no name, in two steps: between them its bytes are deleted, and nobody can name it.
-- KEYS    1 prefix of the org
-- ARGV    1 digest 2 the value that was found there 3 '1' when the bytes are gone, else ''
-- RETURNS OK, or MOVED when it has a name or another value by now
local contents, digest = KEYS[1] .. 'bc', ARGV[1]
local found = redis.call('HGET', contents, digest)
local names, mark, facts = string.match(found or '', '^(%d+) (%S+) (.*)$')
if names ~= '0' then return 'MOVED' end
if ARGV[3] == '1' then
  if mark ~= 'leaving' then return 'MOVED' end
  redis.call('HDEL', contents, digest)
  return 'OK'
end
if mark ~= 'leaving' then
  if found ~= ARGV[2] then return 'MOVED' end
  redis.call('HSET', contents, digest, '0 leaving ' .. facts)
end
return 'OK'
