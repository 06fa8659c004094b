-- Gives a content to an app version, as its build for some devices.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 app version, platform and kind 3 digest 4 '1' to take the place of another, else ''
--         5 the build (JSON)
-- RETURNS word, then the value that stands there: NEW, SAME (it has that content; nothing changes), REPLACED, CONFLICT
--         (it has another content; nothing changes), LEAVING (the content is not there, or is being removed). What was
--         done by the same call before is answered again.
local P, now, field, digest, build = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local call = redis.call
local function counted(which, by)
  local found = call('HGET', P .. 'bc', which)
  local names, mark, facts = string.match(found or '', '^(%d+) (%S+) (.*)$')
  if not names or string.find(mark, 'leaving', 1, true) then return nil end
  return string.format('%.0f', tonumber(names) + by) .. ' ' .. now .. ' ' .. facts
end
local there = call('HGET', P .. 'bd', field)
local old
if there then
  local word, json
  word, old, json = string.match(there, '^%d+ (%S+) (%S+) (.*)$')
  if json == build then return { word, there } end
  if old == digest then return { 'SAME', there } end
  if ARGV[4] ~= '1' then return { 'CONFLICT', there } end
end
local joined = counted(digest, 1)
if not joined then return { 'LEAVING', there or '' } end
local left = old and counted(old, -1)
local word = there and 'REPLACED' or 'NEW'
local value = now .. ' ' .. word .. ' ' .. digest .. ' ' .. build
call('HSET', P .. 'bd', field, value)
call('HSET', P .. 'bc', digest, joined)
if left then call('HSET', P .. 'bc', old, left) end
return { word, value }
