-- The bytes of what was kept of some jobs are deleted for good.
-- KEYS    1 prefix of the org
-- ARGV    ulids
-- RETURNS OK
local P = KEYS[1]
for _, ulid in ipairs(ARGV) do
  redis.call('DEL', P .. 'ar:' .. ulid)
  redis.call('ZREM', P .. 'ag', ulid)
end
return 'OK'
