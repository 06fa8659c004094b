-- The end of an attempt: its record, the verdict or the way back to the queue. Needs lib/org.

-- Numbers with which a command would fail in the middle of a script, if HINCRBY did not take them, with the digits that
-- they may have. A verdict goes over all attempts: with more it would stop the store.
local COUNTS = { n = 6, r = 18, tr = 18, ir = 18, ou = 18, qd = 18 }

-- A job's fields by name, and those of its lease; nil when there is no such job. (It reads all fields: on so small a
-- hash that is faster than naming them.) One that can't be used ends the script.
local function fetch(ulid)
  local v = call('HGETALL', P .. 'j:' .. ulid)
  if #v == 0 then return nil end
  local j = { ulid = ulid }
  for i = 1, #v, 2 do
    local name, value = v[i], v[i + 1]
    local most = COUNTS[name]
    if most and value ~= '0' and (#value > most or not string.find(value, '^[1-9]%d*$')) then damaged() end
    j[name] = value
  end
  j.g, j.o, j.p, j.mr, j.x = parts_of(j.i or '')
  if not (j.g and j.h and STATES[j.s or '']) then damaged() end
  if j.ov and not string.find(j.ov, '^%S+ %S+') then damaged() end
  if j.oc then j.oc = string.match(j.oc, '^%S+') end
  j.v = next_version(j.v)
  j.r = j.r or '1'
  if j.l and j.s == 'c' then j.last, j.l = j.l, nil end
  if j.l then
    j.e, j.k, j.ag, j.dv, j.sa = lease_of(j.l)
    if not (j.e and j.n) then damaged() end
  elseif STATES[j.s] == 1 then
    damaged()
  end
  j.n = j.n or '0'
  if not j.nd then j.f = string.sub(j.h, 1, PRINT) end
  return j
end

-- Jobs that were read and not yet asked for. A script that fails has done what stands before it. So all jobs are read
-- before the first is changed: one that can't be used leaves the others as they were.
local ahead = {}
local function load_ahead(ulids, first, width)
  for i = first, #ulids, width do ahead[ulids[i]] = fetch(ulids[i]) or false end
end
-- One of them; if it is asked for again, as it is by then.
local function load(ulid)
  local j = ahead[ulid]
  ahead[ulid] = nil
  if j == nil then j = fetch(ulid) end
  return j or nil
end

-- What is kept of jobs, of those for which a script asks; read before the first is changed, as the jobs are.
local kept_ahead = {}
local function kept_of(ulid)
  local kept = kept_ahead[ulid]
  if not kept then
    kept = call('GET', P .. 'd:' .. ulid) or ''
    kept_ahead[ulid] = kept
  end
  return kept
end

local dkeys, dlines = {}, {}
-- Adds a line to what is kept of the job.
local function keep(ulid, line)
  local at = #dkeys + 1
  dkeys[at] = P .. 'd:' .. ulid
  dlines[at] = line
end
local function write_kept()
  local n = #dkeys
  for i = 1, n, 2000 do
    local last = math.min(i + 1999, n)
    local old = call('MGET', unpack(dkeys, i, last))
    local set, seen = {}, {}
    for k = i, last do
      local key = dkeys[k]
      local text = seen[key] or old[k - i + 1] or ''
      text = text .. '\n' .. dlines[k]
      seen[key] = text
    end
    for key, text in pairs(seen) do
      set[#set + 1] = key
      set[#set + 1] = text
    end
    call('MSET', unpack(set))
  end
  dkeys, dlines = {}, {}
end

-- The record of the attempt that holds the lease now. `rest` is JSON: outcome, duration, install, result, error.
local ended_here = {}   -- what this script recorded, which is written at its end
local function record(j, started, ended, rest)
  ended_here[j.ulid .. ' ' .. j.k] = true
  if started == '' then started = nil end
  if ended == '' then ended = nil end
  keep(j.ulid, '[' .. j.n .. ',' .. (j.ar or j.r) .. ',"' .. (j.ag or '') .. '","' .. (j.dv or '') .. '","' .. j.k ..
    '",' .. (j.sa or 'null') .. ',' .. (started or j.st or 'null') .. ',' .. (ended or 'null') .. ',' .. rest .. ']')
end

-- The lease is over: nobody holds the job any more.
local function drop_lease(j)
  later('SREM', P .. 'la:' .. j.ag, j.ulid)
  if j.rv then later('SREM', P .. 'rv:' .. j.ag, j.ulid .. ' ' .. j.k) end
  device_holds(j.g, j.dv, -1)
end
local LEASE = { 'l', 'st', 'pr', 'rv', 'ar' }
local function clear_lease(j)
  local there = {}
  for _, field in ipairs(LEASE) do
    if j[field] then there[#there + 1] = field end
  end
  call('HDEL', P .. 'j:' .. j.ulid, unpack(there))
end

local LOG_KEPT = 3600000   -- ms after the verdict: LOG_TTL_MS in store/keys.py
-- The tail of an attempt that is over is kept for so long from now on: the job has its verdict.
local function log_ends(ulid, attempt) call('PEXPIRE', P .. 'lg:' .. ulid .. ':' .. attempt, LOG_KEPT) end

local owned = {}
-- The verdict. `letter`: c, f or x. More fields and values that go with it may follow.
local function verdict(j, now, letter, outcome, ...)
  call('HSET', P .. 'j:' .. j.ulid, 's', letter, 'oc', outcome .. ' ' .. now, 'v', j.v, ...)
  later('ZREM', UNFINISHED, j.ulid)
  later('ZADD', P .. 'ix:' .. letter, j.o, j.ulid)
  if j.qd then later('ZREM', P .. 'qx', j.ulid) end
  if j.ov then later('ZREM', P .. 'ov', j.ulid) end
  if j.f then owned[#owned + 1] = j end
  moved(j.g, j.s, letter)
  group_grows(j.g, -1)
  event(j.ulid, j.v, letter, j.n, outcome, j.dv, j.ag)
  local ended = num(j.n)
  if j.s ~= 'q' then ended = ended - 1 end   -- the end of the attempt that has the lease sees to its own
  for n = 1, ended do log_ends(j.ulid, n) end
  j.s, j.oc = letter, outcome
end

-- Deletes the dedup entries of jobs that got a verdict, each only if it is the job's own.
local function write_dedup()
  for i = 1, #owned, 2000 do
    local last = math.min(i + 1999, #owned)
    local prints, gone = {}, {}
    for k = i, last do prints[#prints + 1] = owned[k].f end
    local holder = call('HMGET', HOLDERS, unpack(prints))
    for k = 1, #prints do
      if holder[k] == owned[i + k - 1].ulid then gone[#gone + 1] = prints[k] end
    end
    if #gone > 0 then call('HDEL', HOLDERS, unpack(gone)) end
  end
  owned = {}
end

-- An attempt that passed is the last one, so it may stay in its job: its lease is over with the verdict, and when it
-- ended, how long before that it began, and what was measured stand beside it. Longer texts would take a hash out of its compact form.
local IN_JOB = 64
local function passed(j, now, started, ended, measured, outcome)
  local times_and_measured = ended .. ',' .. text[num(ended) - num(started)] .. ',' .. measured
  if #times_and_measured > IN_JOB then
    record(j, started, ended, '"passed",' .. measured .. ',null')
    drop_lease(j)
    verdict(j, now, 'c', outcome)
    clear_lease(j)
  else
    ended_here[j.ulid .. ' ' .. j.k] = true
    drop_lease(j)
    verdict(j, now, 'c', outcome, 'en', times_and_measured)
    if j.st or j.pr then call('HDEL', P .. 'j:' .. j.ulid, 'st', 'pr') end
  end
end

-- A queued job may go to its second target, if it has one: once, and before its first attempt.
local function may_overflow(j)
  return j.ov and not j.mv and j.n == '0'
end

-- Back to the queue, at once or when `not_before` (ms, a number) has come.
local function requeue(j, now, not_before)
  local from = j.s
  call('HSET', P .. 'j:' .. j.ulid, 's', 'q', 'u', now, 'v', j.v)
  if not_before and not_before > num(now) then
    local at = text[not_before]
    call('HSET', P .. 'j:' .. j.ulid, 'nb', at)
    j.nb = at
    later('ZADD', P .. 'dl', at, j.ulid)
  else
    if j.nb then call('HDEL', P .. 'j:' .. j.ulid, 'nb') end
    j.nb = nil
    enqueue(j.ulid, j.g, signature(j.sb, j.av), j.p, j.o, j.x)
  end
  if j.qd then later('ZADD', P .. 'qx', j.qd, j.ulid) end
  if may_overflow(j) then later('ZADD', P .. 'ov', now, j.ulid) end
  moved(j.g, from, 'q')
  event(j.ulid, j.v, 'q', j.n, nil, nil, nil)
  j.s = 'q'
end

-- The rules of retries, which all scripts that need them have as arguments 2 to 7.
local RULES_END = 7
local function rules()
  return { base = ARGV[2], cap = ARGV[3], infra_max = ARGV[4], avoided = num(ARGV[5]), poison = num(ARGV[6]),
    poisoned = ARGV[7] }
end

-- Full jitter: a share of the exponential step. `used` retries were made before this one.
local function backoff(used, base, cap, share) return math.floor(math.min(num(cap), num(base) * 2 ^ used) * num(share)) end

-- Adds to a comma list, once, keeping the last `most`.
local function listed(list, item, most)
  local items = {}
  for x in string.gmatch(list or '', '[^,]+') do
    if x ~= item then items[#items + 1] = x end
  end
  items[#items + 1] = item
  while #items > most do table.remove(items, 1) end
  return table.concat(items, ','), #items
end

-- What stands for a whole host among the devices to avoid; no device's id can begin so.
local HOST = '@'

-- The next attempt keeps away from a device, or from a host, if another can serve the job.
local function avoid(j, what, retry)
  j.av = listed(j.av, what, retry.avoided)
  call('HSET', P .. 'j:' .. j.ulid, 'av', j.av)
end

-- Whether an attempt of the round before this one ended as a device_error on the same host. (The record of this one is
-- not written yet.) No text of a job's can look like a record: its quotation marks are escaped.
local BROKE = '\n%[%d+,(%d+),"([^"]*)","[^"]*","[^"]*",[^,]*,[^,]*,[^,]*,"device_error"'
local function broke_before(j)
  for round, agent in string.gmatch(kept_of(j.ulid), BROKE) do
    if round == (j.ar or j.r) and agent == j.ag then return true end
  end
  return false
end

-- A failed attempt: uses up the budget of `charge` (T, I, N, F) and either retries or gives the verdict. `with_host`: its
-- host is suspected, not its device alone; as it is when devices of it break one after the other.
local function fail(j, now, outcome, charge, retry, with_host)
  local key = P .. 'j:' .. j.ulid
  if charge == 'T' and num(j.tr) < num(j.mr) then
    local wait = backoff(num(j.tr), retry.base, retry.cap, retry.share)
    call('HINCRBY', key, 'tr', 1)
    if retry.elsewhere then avoid(j, j.dv, retry) end
    requeue(j, now, num(now) + wait)
  elseif charge == 'I' and num(j.ir) < num(retry.infra_max) then
    local wait = backoff(num(j.ir), retry.base, retry.cap, retry.share)
    call('HINCRBY', key, 'ir', 1)
    if not retry.host_unfit then avoid(j, j.dv, retry) end
    if with_host or retry.host_unfit or outcome == 'device_error' and broke_before(j) then avoid(j, HOST .. j.ag, retry) end
    requeue(j, now, num(now) + wait)
  elseif charge == 'N' then
    requeue(j, now, nil)
  else
    verdict(j, now, 'f', outcome)
  end
end

-- A started attempt whose agent is lost. Several different agents make it a poison job.
local function lost(j, now, retry)
  local agents, n = listed(j.pz, j.ag, retry.poison)
  call('HSET', P .. 'j:' .. j.ulid, 'pz', agents)
  if n >= retry.poison then
    local line = string.gsub(retry.poisoned, '%%s', (string.gsub(agents, ',', ', ')))
    keep(j.ulid, line .. ',"r":' .. j.r .. '}')
    verdict(j, now, 'f', 'agent_lost')
  else
    fail(j, now, 'agent_lost', 'I', retry, true)
  end
end

-- A started attempt that was lost to an outage of store or coordinator, or of the way to them: its agent was there. It is
-- charged to nobody, but a job that this happens to as often as the infrastructure has retries, and once at least, pays for
-- what comes after. An outage of the store takes attempts on all hosts at once, so the first one leads to no other host.
local function cut_off(j, now, retry)
  local times = call('HINCRBY', P .. 'j:' .. j.ulid, 'ou', 1)
  if times > math.max(num(retry.infra_max), 1) then
    fail(j, now, 'agent_lost', 'I', retry, true)
  else
    if times > 1 then avoid(j, HOST .. j.ag, retry) end
    requeue(j, now, nil)
  end
end

-- What was done to a job, for those who count and log it; store/settled.py reads it. `lease`: how its lease ended, R
-- (revoked), U (never started), L (started) or N (it had none).
local function told(j, lease, attempt)
  local none = lease == 'N'
  return table.concat({ j.ulid, j.s .. string.sub(j.g, 1, 1), j.oc or '-', attempt, lease, none and '-' or j.ag,
    none and '-' or j.dv, j.nb or '-' }, ' ')
end

-- The lease of a job ends without an outcome: revoked, never started, or lost. Answers what was done.
-- rest: JSON for the record of a started one.
local function release(j, now, ended, charge, rest, retry)
  local attempt, lease = j.n, 'L'
  if j.rv or (j.s ~= 's' and j.s ~= 'r') then
    lease = 'R'
    record(j, nil, ended, '"cancelled",null,null,null,null')
    drop_lease(j)
    if j.s == 'q' then
      enqueue(j.ulid, j.g, signature(j.sb, j.av), j.p, j.o, j.x)   -- a retry that waited for the old tree to die
    end
    call('HSET', P .. 'j:' .. j.ulid, 'u', now, 'v', j.v)
    event(j.ulid, j.v, j.s, j.n, nil, nil, nil)
  elseif j.s == 's' then
    lease = 'U'
    drop_lease(j)
    call('HINCRBY', P .. 'j:' .. j.ulid, 'n', -1)
    j.n = text[num(j.n) - 1]
    requeue(j, now, nil)
  else
    record(j, nil, ended, rest)
    drop_lease(j)
    if charge == 'L' then
      lost(j, now, retry)
    elseif charge == 'O' then
      cut_off(j, now, retry)
    else
      fail(j, now, 'agent_lost', charge, retry)
    end
  end
  clear_lease(j)
  if j.s ~= 'q' then log_ends(j.ulid, attempt) end
  return told(j, lease, attempt)
end

local function write_attempts()
  write_kept()
  write_dedup()
  write_all()
end

-- Whether an ended attempt of the job had this token.
local function had_token(j, token)
  if ended_here[j.ulid .. ' ' .. token] or (j.last and holder_of(j.last) == token) then return true end
  return bool(string.find(kept_of(j.ulid), '","' .. token .. '",', 1, true))
end
-- Asks it of all jobs of a call that no attempt with the token holds, before the first of them is changed.
local function tokens_ahead(first, width)
  for i = first, #ARGV, width do
    local j = ahead[ARGV[i]]
    if j and j.k ~= ARGV[i + 1] then had_token(j, ARGV[i + 1]) end
  end
end
