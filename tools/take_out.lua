-- Takes a job that can't be used out of its org, and counts anew what is counted of the others, in one step.
--
--     redis-cli --eval tools/take_out.lua 'qg:o:{ORG}:' , ULID
--
-- What was kept of the job stands under `aside:` then. It looks through all keys of the store, and so stops it for about
-- a second for each million of them.
-- RETURNS what it did, a line each
local P, ulid = KEYS[1], ARGV[1]
local call = redis.call
local done = {}
local function did(n, what)
  if n > 0 then done[#done + 1] = what end
end

for _, kind in ipairs({ 'j:', 'd:' }) do
  local key = P .. kind .. ulid
  if call('EXISTS', key) == 1 then
    call('RENAME', key, 'aside:' .. key)
    did(1, key .. ' is aside:' .. key)
  end
end

for _, name in ipairs({ 'ix:a', 'ix:c', 'ix:f', 'ix:x', 'dl', 'qx', 'ov' }) do did(call('ZREM', P .. name, ulid), 'out of ' .. name) end
for _, key in ipairs(call('KEYS', P .. 'rj:*')) do did(call('ZREM', key, ulid), 'out of ' .. key) end
for _, key in ipairs(call('KEYS', P .. 'la:*')) do did(call('SREM', key, ulid), 'out of ' .. key) end
for _, key in ipairs(call('KEYS', P .. 'rv:*')) do
  for _, member in ipairs(call('SMEMBERS', key)) do
    if string.match(member, '^%S+') == ulid then did(call('SREM', key, member), 'out of ' .. key) end
  end
end
for _, key in ipairs(call('KEYS', P .. 'q:*')) do
  for _, member in ipairs(call('ZRANGE', key, 0, -1)) do
    if string.match(member, '^%S+') == ulid then did(call('ZREM', key, member), 'out of ' .. key) end
  end
end
local equal = call('HGETALL', P .. 'dd')
for i = 1, #equal, 2 do
  if equal[i + 1] == ulid then did(call('HDEL', P .. 'dd', equal[i]), 'out of dd') end
end

-- What is counted: jobs by status and target, unfinished ones of each group, leases of each device in it.
local counts, unfinished, held = {}, {}, {}
for _, index in ipairs({ 'a', 'c', 'f', 'x' }) do
  for _, other in ipairs(call('ZRANGE', P .. 'ix:' .. index, 0, -1)) do
    local v = call('HMGET', P .. 'j:' .. other, 's', 'i', 'l')
    local gid = string.match(v[2] or '', '^%S+')
    if v[1] and gid then
      local field = v[1] .. string.sub(gid, 1, 1)
      counts[field] = (counts[field] or 0) + 1
      if index == 'a' then unfinished[gid] = (unfinished[gid] or 0) + 1 end
      local device = v[3] and v[1] ~= 'c' and string.match(v[3], '^%S+ %S+ %S+ (%S+)')
      if device then
        held[gid] = held[gid] or {}
        held[gid][device] = (held[gid][device] or 0) + 1
      end
    end
  end
end
local function counted(key, field, n)
  local was = tonumber(call('HGET', key, field) or 0)
  if was == n then return end
  if n == 0 then call('HDEL', key, field) else call('HSET', key, field, n) end
  did(1, key .. ' ' .. field .. ' was ' .. tostring(was) .. ', is ' .. n)
end
for letter in string.gmatch('qsrcfx', '.') do
  for target in string.gmatch('edb', '.') do counted(P .. 'ct', letter .. target, counts[letter .. target] or 0) end
end
for _, gid in ipairs(call('SMEMBERS', P .. 'gs')) do
  if unfinished[gid] then
    counted(P .. 'g:' .. gid, 'u', unfinished[gid])
  else
    call('DEL', P .. 'g:' .. gid)
    did(call('SREM', P .. 'gs', gid), 'nothing is left of group ' .. gid)
  end
end
for _, key in ipairs(call('KEYS', P .. 'gd:*')) do
  local of = held[string.sub(key, #P + 4)] or {}
  for _, device in ipairs(call('HKEYS', key)) do counted(key, device, of[device] or 0) end
end
return done
