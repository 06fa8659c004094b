-- Grants leases: pops the jobs that a plan chose, where nothing has changed since.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 attempts the org may hold, or -1 3 devices that may serve a group, or -1; then for each device:
--         agent, epoch, device, gid, devices that the plan saw serving the group (-1 if this one did), which build it
--         needs (app version, platform and kind; '' if not known), jobs, and for each job: ulid, token
-- RETURNS for each device a word: OK, STALE (epoch too low) or MOVED; after OK the build ('' if there is none) and for
--         each job: attempt (0 refused, -1 over the quota), round, order; after STALE the lowest epoch that may claim.
--         The same token again is granted again. What is refused, since it does not wait in that group, leaves its queues;
--         but for what somebody has just been granted.
--!include lib/org
local now, quota, cap = ARGV[1], num(ARGV[2]), num(ARGV[3])
local held = 0
if quota >= 0 then
  local n = call('HMGET', P .. 'ct', 'se', 'sd', 'sb', 're', 'rd', 'rb')
  for i = 1, 6 do held = held + num(n[i]) end
end
local floors, answer, joined_here, joins = {}, {}, {}, {}
-- Jobs that are granted, as they are then. They are written when all is read: one that can't be used leaves the others as
-- they were.
local given = {}
local RACE = 5000   -- ms: a plan is no older
local strays   -- by group, what was refused since it does not wait there; mostly there is none
local at = 4
while at <= #ARGV do
  local agent, epoch, device, gid = ARGV[at], num(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local expect, build, jobs = num(ARGV[at + 4]), ARGV[at + 5], num(ARGV[at + 6])
  local first = at + 7
  at = first + 2 * jobs
  local floor = floors[agent]
  if not floor then
    floor = num(call('HGET', P .. 'fl', agent))
    floors[agent] = floor
  end
  local member, leases = gid .. ' ' .. device, P .. 'la:' .. agent
  local fresh = not joined_here[member] and call('HEXISTS', P .. 'gd:' .. gid, device) == 0
  local joined = joins[gid] or 0
  -- Under a cap one that the plan saw serving is counted too: it may have ended since, and others have its place.
  local serving = fresh and (expect >= 0 or cap >= 0) and call('HLEN', P .. 'gd:' .. gid) + joined
  if epoch < floor then
    answer[#answer + 1] = 'STALE'
    answer[#answer + 1] = floor
  elseif serving and ((expect >= 0 and serving ~= expect) or (cap >= 0 and serving >= cap)) then
    answer[#answer + 1] = 'MOVED'
  else
    answer[#answer + 1] = 'OK'
    answer[#answer + 1] = build ~= '' and call('HGET', P .. 'bd', build) or ''
    if floor < epoch then
      call('HSET', P .. 'fl', agent, text[epoch])
      floors[agent] = epoch
    end
    local before_token, after_token = text[epoch] .. ' ', ' ' .. agent .. ' ' .. device .. ' ' .. now
    local got = 0
    for i = first, first + 2 * jobs - 2, 2 do
      local ulid, token = ARGV[i], ARGV[i + 1]
      local v = given[ulid] or call('HMGET', P .. 'j:' .. ulid, 's', 'i', 'l', 'n', 'v', 'nb', 'sb', 'av', 'r', 'ar')
      local attempt = 0
      local of, order, _, _, x = parts_of(v[2] or '')
      if (not v[1]) ~= (not of) then damaged() end
      -- A queued job is on its queue unless it waits for a time, or for the end of a lease.
      if v[1] == 'q' and not v[3] and not v[6] and of == gid then
        if quota >= 0 and held >= quota then
          attempt = -1
        else
          attempt = num(v[4]) + 1
          held = held + 1
          got = got + 1
          local version = next_version(v[5])
          v[1], v[3], v[4], v[5] = 's', before_token .. token .. after_token, text[attempt], version
          given[ulid] = v
          later('ZREM', P .. 'q:' .. gid .. ':' .. signature(v[7], v[8]), queued_as(ulid, x))
          later('SADD', leases, ulid)
          event(ulid, version, 's', text[attempt], nil, device, agent)
        end
      elseif v[3] and v[1] ~= 'c' then
        local held_token, held_agent = holder_of(v[3])
        if held_token == token and held_agent == agent then attempt = num(v[4]) end
      end
      if attempt == 0 then
        -- Whoever was faster has just taken it off. To look for it costs ten claims, in a group of ten queues (measured).
        local raced = v[3] and num(now) - num(string.match(v[3], '%d+$')) < RACE
        if not raced then
          strays = strays or {}
          strays[gid] = strays[gid] or {}
          strays[gid][ulid] = true
        end
      end
      answer[#answer + 1] = attempt
      answer[#answer + 1] = num(v[10] or v[9] or 1)   -- a revoked lease is of an earlier round
      answer[#answer + 1] = order or ''
    end
    if got > 0 then
      moved(gid, 'q', 's', got)
      device_holds(gid, device, got)
      if fresh then
        joined_here[member] = true
        joins[gid] = joined + 1
      end
    end
  end
end
-- Where a plan sees it, it goes from the queues: each plan would propose it first, each claim refuse it. By its name,
-- whatever that is: its record may be gone.
if strays then
  local HEADS = 64   -- a plan is shown no more of a queue: HEADS in policy/snapshot.py
  for gid, jobs in pairs(strays) do
    for _, field in ipairs(call('HKEYS', P .. 'g:' .. gid)) do
      if string.sub(field, 1, 2) == 'q:' then
        local queue = P .. 'q:' .. gid .. string.sub(field, 2)
        for _, name in ipairs(call('ZRANGE', queue, 0, HEADS - 1)) do
          if jobs[string.match(name, '^%S+')] then later('ZREM', queue, name) end
        end
      end
    end
  end
end
for ulid, v in pairs(given) do call('HSET', P .. 'j:' .. ulid, 's', v[1], 'l', v[3], 'n', v[4], 'v', v[5]) end
write_all()
return answer
