-- Grants leases: pops the jobs that a plan chose, where nothing has changed since.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 attempts the org may hold, or -1; then for each device: agent, epoch, device, gid, devices that
--         the plan saw serving the group (-1 for a warm device), jobs, and for each job: ulid, token
-- RETURNS for each device a word: OK, STALE (epoch too low) or MOVED; after OK, for each job: attempt (0 refused,
--         -1 over the quota), round, order, spec. The same token again is granted again.
--!include lib/org
local now, quota = ARGV[1], num(ARGV[2])
local held = 0
if quota >= 0 then
  local n = call('HMGET', P .. 'ct', 'se', 'sd', 'sb', 're', 'rd', 'rb')
  for i = 1, 6 do held = held + num(n[i]) end
end
local floors, answer, granted, joined_here, joins = {}, {}, {}, {}, {}
local at = 3
while at <= #ARGV do
  local agent, epoch, device, gid = ARGV[at], num(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local expect, jobs = num(ARGV[at + 4]), num(ARGV[at + 5])
  local first = at + 6
  at = first + 2 * jobs
  local floor = floors[agent]
  if not floor then
    floor = num(call('HGET', P .. 'fl', agent))
    floors[agent] = floor
  end
  local member = gid .. ' ' .. device
  local fresh = not joined_here[member] and call('HEXISTS', P .. 'gd:' .. gid, device) == 0
  local joined = joins[gid] or 0
  if epoch < floor then
    answer[#answer + 1] = 'STALE'
  elseif expect >= 0 and fresh and call('HLEN', P .. 'gd:' .. gid) + joined ~= expect then
    answer[#answer + 1] = 'MOVED'
  else
    answer[#answer + 1] = 'OK'
    if floor < epoch then
      call('HSET', P .. 'fl', agent, string.format('%.0f', epoch))
      floors[agent] = epoch
    end
    local got = 0
    for i = first, first + 2 * jobs - 2, 2 do
      local ulid, token = ARGV[i], ARGV[i + 1]
      local key = P .. 'j:' .. ulid
      local v = call('HMGET', key, 's', 'l', 'k', 'n', 'r', 'v', 'g', 'sb', 'av', 'ag', 'o', 'ar')
      local attempt = 0
      if v[2] and v[3] == token and v[10] == agent then
        attempt = num(v[4])
      elseif v[1] == 'q' and not v[2] and v[7] == gid then
        if quota >= 0 and held >= quota then
          attempt = -1
        elseif call('ZREM', P .. 'q:' .. gid .. ':' .. signature(v[8], v[9]), ulid) == 1 then
          attempt = num(v[4]) + 1
          held = held + 1
          got = got + 1
          local version = num(v[6] or 1) + 1
          call('HSET', key, 's', 's', 'k', token, 'l', ARGV[first - 5], 'ag', agent, 'dv', device, 'sa', now, 'n',
            attempt, 'v', version)
          later('SADD', P .. 'la:' .. agent, ulid)
          moved(gid, 'q', 's')
          event(ulid, version, 's', attempt, nil, device, agent)
        end
      end
      answer[#answer + 1] = attempt
      answer[#answer + 1] = num(v[12] or v[5] or 1)   -- a revoked lease is of an earlier round
      answer[#answer + 1] = v[11] or ''
      answer[#answer + 1] = ''
      if attempt > 0 then granted[#granted + 1] = { #answer, P .. 'd:' .. ulid } end
    end
    if got > 0 then
      device_holds(gid, device, got)
      if fresh then
        joined_here[member] = true
        joins[gid] = joined + 1
      end
    end
  end
end
for i = 1, #granted, 2000 do
  local keys = {}
  local last = math.min(i + 1999, #granted)
  for k = i, last do keys[#keys + 1] = granted[k][2] end
  local texts = call('MGET', unpack(keys))
  for k = i, last do answer[granted[k][1]] = texts[k - i + 1] or '' end
end
write_all()
return answer
