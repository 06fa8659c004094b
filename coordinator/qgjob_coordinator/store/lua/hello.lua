-- A coordinator meets the store: checks the schema, and raises the store's epoch when the store has a new life.
-- KEYS    1 prefix of the fleet
-- ARGV    1 schema version 2 run id of the store's process
-- RETURNS {schema found, store epoch}; a schema other than ARGV[1] means: nothing was changed
local F = KEYS[1]
local call = redis.call
local schema = call('GET', F .. 'schema')
if schema and schema ~= ARGV[1] then return { schema, 0 } end
if not schema then call('SET', F .. 'schema', ARGV[1]) end
if call('HGET', F .. 'store', 'run_id') ~= ARGV[2] then
  call('HSET', F .. 'store', 'run_id', ARGV[2])
  call('HINCRBY', F .. 'store', 'epoch', 1)
end
return { ARGV[1], tonumber(call('HGET', F .. 'store', 'epoch')) }
