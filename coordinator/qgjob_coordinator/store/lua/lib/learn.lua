-- What is learned from tests that ended. Needs lib/org, lib/average.
local ESTIMATES_KEPT = 20000   -- tests of an org that are known at most; beyond that, any of them are forgotten
local ORG = '*'

-- Learns from ended attempts, in their order: {job, learned}. `learned` is p (passed) or f (failed), then the ms that it
-- measured, if it did. The groups must still be there.
local function learn(lessons)
  local fields, place = { ORG }, {}
  for _, lesson in ipairs(lessons) do
    local field = test_of(lesson[1].g, lesson[1].h)
    if not place[field] then
      fields[#fields + 1] = field
      place[field] = #fields
    end
    lesson[3] = place[field]
  end
  local known = {}
  for i = 1, #fields, 2000 do
    local last = math.min(i + 1999, #fields)
    local values = call('HMGET', P .. 'est', unpack(fields, i, last))
    for k = i, last do known[k] = values[k - i + 1] end
  end
  local org, groups, fresh = typical_of(known[1] or nil), {}, false
  for _, lesson in ipairs(lessons) do
    local gid, learned, at = lesson[1].g, lesson[2], lesson[3]
    local ms = tonumber(string.sub(learned, 2))
    fresh = fresh or not known[at]
    local mark = string.byte(learned) == 102 and '!' or ''   -- 102: f
    if ms then
      local group, log = groups[gid], log_of(ms)
      if not group then
        group = typical_of(call('HGET', P .. 'g:' .. gid, 'm') or nil)
        groups[gid] = group
      end
      known[at] = observe(known[at], mark, ms, log, group.n >= ENOUGH and group or org.n >= ENOUGH and org or nil)
      observe_typical(group, log)
      observe_typical(org, log)
    else
      known[at] = observe(known[at], mark)
    end
  end
  known[1] = org.n > 0 and kept_as(org) or nil
  local set = {}
  for i = known[1] and 1 or 2, #fields do
    set[#set + 1] = fields[i]
    set[#set + 1] = known[i]
  end
  many('HSET', P .. 'est', set)
  for gid, group in pairs(groups) do call('HSET', P .. 'g:' .. gid, 'm', kept_as(group)) end
  if fresh then
    local over = call('HLEN', P .. 'est') - ESTIMATES_KEPT
    if over > 0 then many('HDEL', P .. 'est', call('HRANDFIELD', P .. 'est', over)) end
  end
end
