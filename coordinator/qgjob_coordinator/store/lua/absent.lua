-- Devices that their agents do not show: notes since when, and forgets those that nobody has shown for long.
-- KEYS    1 prefix of the fleet
-- ARGV    1 now (ms) 2 gone since before (ms); then devices
-- RETURNS those that it forgot. One that is shown, or that a person's hold keeps, is left as it is.
--!include lib/in_force
local F, now, before = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local call = redis.call
local forgotten = {}
for i = 3, #ARGV do
  local key = F .. 'dv:' .. ARGV[i]
  local d = call('HMGET', key, 'present', 'gone', 'agent')
  local gone = tonumber(d[2])
  if d[1] == '0' then
    if not gone then
      call('HSET', key, 'gone', ARGV[1])
    elseif gone < before and not held(key, now) then
      call('DEL', key)
      call('SREM', F .. 'da:' .. d[3], ARGV[i])
      forgotten[#forgotten + 1] = ARGV[i]
    end
  end
end
return forgotten
