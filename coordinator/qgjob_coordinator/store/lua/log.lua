-- Adds to the log tails of attempts. What overlaps with what is there is cut off; a gap is kept as one.
-- KEYS    1 prefix of the org
-- ARGV    1 bytes kept 2 ttl (ms); then for each piece: ulid, token, offset, data
-- RETURNS a word each: APPLIED, REPLAYED (nothing new), LATE (of a lease that is over)
local P = KEYS[1]
local call = redis.call
local cap, answer = tonumber(ARGV[1]), {}
for i = 3, #ARGV, 4 do
  local v = call('HMGET', P .. 'j:' .. ARGV[i], 'l', 'n', 's')
  local word = 'LATE'
  if v[1] and v[3] ~= 'c' and string.match(v[1], '^%S+ (%S+) ') == ARGV[i + 1] then
    word = 'APPLIED'
    local key = P .. 'lg:' .. ARGV[i] .. ':' .. v[2]
    local offset, data = tonumber(ARGV[i + 2]), ARGV[i + 3]
    local last = call('LRANGE', key, -1, -1)[1]
    local stop = last and tonumber(string.sub(last, 1, 16)) + #last - 16 or 0
    if offset < stop then
      data = string.sub(data, stop - offset + 1)
      offset = stop
    end
    if #data == 0 then
      word = 'REPLAYED'
    else
      call('RPUSH', key, string.format('%016.0f', offset) .. data)
      local first = call('LINDEX', key, 0)
      while tonumber(string.sub(first, 1, 16)) + #first - 16 < offset + #data - cap do
        call('LPOP', key)
        first = call('LINDEX', key, 0)
      end
      call('PEXPIRE', key, ARGV[2])
    end
  end
  answer[#answer + 1] = word
end
return answer
