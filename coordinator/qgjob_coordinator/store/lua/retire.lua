-- Retention: removes finished jobs, with every index entry of theirs. Those that can't be used stay, and keep back no others.
-- KEYS    1 prefix of the org
-- ARGV    1 finished before (ms) 2 index letter 3 highest order to look at 4 skip so many 5 look at so many
-- RETURNS {looked at, removed}
local P = KEYS[1]
local call = redis.call
local CHUNK = 1000   -- keys that one command removes
local ATTEMPTS = 6   -- digits of the number of attempts at most, as in lib/attempt: it goes over all of them
local ulids = call('ZRANGEBYSCORE', P .. 'ix:' .. ARGV[2], '-inf', ARGV[3], 'LIMIT', ARGV[4], ARGV[5])
local removed, words = 0, { c = 'completed', f = 'failed', x = 'cancelled' }
for _, ulid in ipairs(ulids) do
  local v = call('HMGET', P .. 'j:' .. ulid, 'oc', 'l', 'rn', 'ik', 'n', 'i')
  local ended = v[1] and tonumber(string.match(v[1], '%S+$'))
  local attempts, target = string.match(v[5] or '0', '^%d+$'), string.match(v[6] or '', '^[edb]')
  if ended and ended < tonumber(ARGV[1]) and (not v[2] or ARGV[2] == 'c') and attempts and #attempts <= ATTEMPTS and target then
    local keys = { P .. 'j:' .. ulid, P .. 'd:' .. ulid }
    for n = 1, tonumber(attempts) do keys[#keys + 1] = P .. 'lg:' .. ulid .. ':' .. n end
    for i = 1, #keys, CHUNK do call('DEL', unpack(keys, i, math.min(i + CHUNK - 1, #keys))) end
    call('ZREM', P .. 'ix:' .. ARGV[2], ulid)
    for run in string.gmatch(v[3] or '', '[^,]+') do call('ZREM', P .. 'rj:' .. run, ulid) end
    for key in string.gmatch(v[4] or '', '[^,]+') do
      local owner, content = string.match(call('GET', P .. 'ik:' .. key) or '', '^(%S+) ?%S* ?(%S*)$')
      if owner == ulid then call('SET', P .. 'ik:' .. key, ulid .. ' ' .. words[ARGV[2]] .. ' ' .. content, 'KEEPTTL') end
    end
    call('HINCRBY', P .. 'ct', ARGV[2] .. target, -1)
    removed = removed + 1
  end
end
return { #ulids, removed }
