-- What the fleet has learned of durations.
-- KEYS    1 prefix of the fleet
-- ARGV    none
-- RETURNS {field, estimate, ...}: see `ty` in store/keys.py
return redis.call('HGETALL', KEYS[1] .. 'ty')
