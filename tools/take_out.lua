-- Takes a job that can't be used out of its org, and counts anew what is counted of the others, in one step.
--
--     redis-cli -e -u "$REDIS_URL" --eval tools/take_out.lua 'qg:o:{acme}:' , acme~01M8Z1T2R4C6V8X0A2B4D6F8H0
--
-- The braces are part of the key; the job may be named by the end of its id alone. What was kept of it stands under
-- `aside:` then. It looks through all keys of the store, and so stops it for about a second for each million of them.
-- RETURNS what it did, a line each; an error, with nothing changed, for arguments that name no job.
local P, id = KEYS[1] or '', ARGV[1] or ''
local call = redis.call
local USAGE = "redis-cli -e --eval tools/take_out.lua 'qg:o:{acme}:' , acme~ULID"
local function refused(why) return redis.error_reply('ERR ' .. why .. ': nothing was changed; it is ' .. USAGE) end

local org = string.match(P, '^qg:o:{([^{}]+)}:$')
if not org then return refused(P .. " is not the prefix of an org's keys, whose braces are part of it") end
local named, ulid = string.match(id, '^(.*)~(.*)$')
ulid = ulid or id
if ulid == '' then return refused('"' .. id .. '" names no job') end
if named and named ~= org then return refused(id .. ' is not a job of ' .. P) end

-- First all places are looked through, then the job leaves them: an error leaves all as it was.
local places = {}
local function stands(key, remove, member) places[#places + 1] = { remove, key, member } end
for _, name in ipairs({ 'ix:a', 'ix:c', 'ix:f', 'ix:x', 'dl', 'qx', 'ov' }) do
  if call('ZSCORE', P .. name, ulid) then stands(P .. name, 'ZREM', ulid) end
end
for _, key in ipairs(call('KEYS', P .. 'rj:*')) do
  if call('ZSCORE', key, ulid) then stands(key, 'ZREM', ulid) end
end
for _, key in ipairs(call('KEYS', P .. 'la:*')) do
  if call('SISMEMBER', key, ulid) == 1 then stands(key, 'SREM', ulid) end
end
for _, key in ipairs(call('KEYS', P .. 'rv:*')) do
  for _, member in ipairs(call('SMEMBERS', key)) do
    if string.match(member, '^%S+') == ulid then stands(key, 'SREM', member) end
  end
end
for _, key in ipairs(call('KEYS', P .. 'q:*')) do
  for _, member in ipairs(call('ZRANGE', key, 0, -1)) do
    if string.match(member, '^%S+') == ulid then stands(key, 'ZREM', member) end
  end
end
local equal = call('HGETALL', P .. 'dd')
for i = 1, #equal, 2 do
  if equal[i + 1] == ulid then stands(P .. 'dd', 'HDEL', equal[i]) end
end
-- Idempotency keys and other ids that lead to it: who submits the test again would be given a job that is not there.
for _, kind in ipairs({ 'ik:*', 'al:*' }) do
  for _, key in ipairs(call('KEYS', P .. kind)) do
    if string.match(call('GET', key) or '', '^%S+') == ulid then stands(key, 'DEL') end
  end
end
if #places == 0 and call('EXISTS', P .. 'j:' .. ulid, P .. 'd:' .. ulid) == 0 then return refused('no job ' .. ulid .. ' in ' .. P) end
-- What is counted is looked at too, before anything changes.
call('HLEN', P .. 'ct')
for _, gid in ipairs(call('SMEMBERS', P .. 'gs')) do call('HLEN', P .. 'g:' .. gid) end
for _, key in ipairs(call('KEYS', P .. 'gd:*')) do call('HLEN', key) end

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
for _, place in ipairs(places) do did(call(unpack(place)), 'out of ' .. place[2]) end

-- What is counted: jobs by status and target, unfinished ones of each group, leases of each device in it.
local counts, unfinished, held = {}, {}, {}
for _, index in ipairs({ 'a', 'c', 'f', 'x' }) do
  for _, other in ipairs(call('ZRANGE', P .. 'ix:' .. index, 0, -1)) do
    local v = redis.pcall('HMGET', P .. 'j:' .. other, 's', 'i', 'l') -- of another type: none of them
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
