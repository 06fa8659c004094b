-- Accepts jobs of one org, all or none.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 jobs 3 groups, 4 alias ttl (ms) 5 idempotency ttl (ms) 6 what it does to runs or '': JSON of the
--         keys that it takes (s: digest, run, ...), whether more of these runs follows (m), a mark (w), ttl of a key (k)
--         and of what lost one (l), runs that it binds (b), to which client (c), for how long each time (a, ms); a group: gid, app version, target;
--         a job: ulid, content hash (begins with the fingerprint), flags (d: deduplicate, o: the caller chose the id),
--         gid, requirement signature, what it has from its submission (see `parts_of`), score if its test did not fail
--         in its last run, order, run or '', spec, what few jobs have or '': JSON of idempotency digest (k), what must
--         be equal under that key (c), not_before (b, ms), queue deadline (q, ms), overflow (o, see store/codec.py)
-- RETURNS {'NEW'} when all are new, else {'OK', word, ulid, ...} with words NEW, REPLAYED, DEDUP, KEYED (ulid may be
--         'ulid status' of a job that retention removed); or nothing is changed: {'CONFLICT', index} for the id of a job
--         with another content, {'CONFLICT', index, ulid} for the key of such a job, '' when that is of this call too
--!include lib/org
--!include lib/runs
local WIDTH = 11
local now, jobs, groups, alias_ttl, key_ttl = ARGV[1], num(ARGV[2]), num(ARGV[3]), ARGV[4], ARGV[5]
local base = 7 + groups * 3
local of_runs = ARGV[6] ~= '' and cjson.decode(ARGV[6])

-- A key's entry is `ulid status content`; the status is '-' until retention removes the job. An older entry lacks the
-- content, and perhaps the status: it stands for any content.
local function entry_of(kept)
  if not kept then return nil end
  local ulid, status, content = string.match(kept, '^(%S+) ?(%S*) ?(%S*)$')
  return { ulid = ulid, removed = status ~= '' and status ~= '-' and status or nil, content = content }
end
-- The content of a job that is there; nil when there is none.
local function hash_of(key)
  local v = call('HMGET', key, 'h', 's')
  if not v[1] and v[2] then damaged() end
  return v[1] or nil
end
local function keep_entry(key, ulid, content) call('SET', P .. 'ik:' .. key, ulid .. ' - ' .. content, 'PX', key_ttl) end

-- What a submission may change of a job that is there.
local function known_job(ulid)
  local v = call('HMGET', P .. 'j:' .. ulid, 's', 'i', 'sb', 'av', 'rn', 'v', 'n', 'ik')
  if (v[1] or v[2]) and not (STATES[v[1]] and parts_of(v[2] or '') and tonumber(v[7] or 0)) then damaged() end
  return v
end

-- Check.
local jkeys, akeys, names, prints, rare = {}, {}, {}, {}, {}
for i = 1, jobs do
  local b = base + (i - 1) * WIDTH
  jkeys[i] = P .. 'j:' .. ARGV[b]
  akeys[i] = P .. 'al:' .. ARGV[b]
  names[2 * i - 1], names[2 * i] = jkeys[i], akeys[i]
  local flags = ARGV[b + 2]
  prints[i] = (flags == 'do' or flags == 'd') and string.sub(ARGV[b + 1], 1, PRINT) or ''
  if ARGV[b + 10] ~= '' then rare[i] = cjson.decode(ARGV[b + 10]) end
end
local some = call('EXISTS', unpack(names)) > 0
local some_exist = some and call('EXISTS', unpack(jkeys)) > 0
local some_alias = some and call('EXISTS', unpack(akeys)) > 0
local holders = call('HMGET', HOLDERS, unpack(prints))
local word, who, removed = {}, {}, {}
local here, printed, keyed, aliased = {}, {}, {}, {}
local there = {}   -- jobs of before that stand for some of these, as they are by then: all are read before anything is written
local all_new = true
for i = 1, jobs do
  local b = base + (i - 1) * WIDTH
  local ulid, hash, print, key = ARGV[b], ARGV[b + 1], prints[i], rare[i] and rare[i].k
  local known = here[ulid] or (some_exist and hash_of(jkeys[i])) or nil
  local alias, alias_hash = aliased[ulid] or (some_alias and call('GET', akeys[i])) or nil, nil
  if alias then alias, alias_hash = string.match(alias, '^(%S+) (%S+)$') end
  local first = key and (keyed[key] or entry_of(call('GET', P .. 'ik:' .. key))) or nil
  if (known or alias_hash or hash) ~= hash then return { 'CONFLICT', i } end
  if known then
    word[i], who[i], all_new = 'REPLAYED', ulid, false
  elseif alias then
    word[i], who[i], all_new = 'ALIAS', alias, false
  elseif first then
    if first.content ~= '' and first.content ~= rare[i].c then
      return { 'CONFLICT', i, here[first.ulid] and '' or first.ulid }
    end
    word[i], who[i], all_new = 'KEYED', first.ulid, false
  elseif print ~= '' and (holders[i] or printed[print]) then
    word[i], who[i], all_new = 'DEDUP', holders[i] or printed[print], false
  else
    word[i], who[i] = 'NEW', ulid
    here[ulid] = hash
    if print ~= '' then printed[print] = ulid end
  end
  if first and first.ulid == who[i] then removed[i] = first.removed end
  if key and not first and not known and not alias then
    keyed[key] = { ulid = who[i], content = rare[i].c }
  end
  if (word[i] == 'DEDUP' or word[i] == 'KEYED') and not removed[i] then
    if string.find(ARGV[b + 2], 'o', 1, true) then aliased[ulid] = who[i] .. ' ' .. hash end
    if not here[who[i]] then there[who[i]] = there[who[i]] or known_job(who[i]) end
  end
end

-- What is expected of them.
local tests = {}
for i = 1, jobs do
  local b = base + (i - 1) * WIDTH
  tests[i] = test_of(ARGV[b + 3], ARGV[b + 1])
end
local known = call('HMGET', P .. 'est', unpack(tests))

-- That what they go into can be used: a job that is in none of it would be known, and lost, when it is submitted again.
call('ZCARD', UNFINISHED)
if next(rare) then
  for _, index in ipairs({ 'dl', 'qx', 'ov' }) do call('ZCARD', P .. index) end
end
call('SISMEMBER', P .. 'gs', '')
call('HLEN', P .. 'ct')
local incomplete = {}   -- groups that are new, or get a queue that they did not have
local gid, sig, run = nil, nil, ''
for i = 1, jobs do
  local b = base + (i - 1) * WIDTH
  if run ~= ARGV[b + 8] then
    run = ARGV[b + 8]
    call('ZCARD', P .. 'rj:' .. run)
  end
  if gid ~= ARGV[b + 3] or sig ~= ARGV[b + 4] then
    gid, sig = ARGV[b + 3], ARGV[b + 4]
    call('ZCARD', P .. 'q:' .. gid .. ':' .. sig)
    if call('HEXISTS', P .. 'g:' .. gid, 'q:' .. sig) == 0 then incomplete[gid] = true end
  end
end

-- Write.
local texts, grown, fresh = {}, {}, {}   -- fresh: runs that this call brings something new
for i = 1, jobs do
  if word[i] == 'NEW' then
    local b = base + (i - 1) * WIDTH
    local ulid, print, gid, sig, given = ARGV[b], prints[i], ARGV[b + 3], ARGV[b + 4], ARGV[b + 5]
    local place, order, run, seldom = ARGV[b + 6], ARGV[b + 7], ARGV[b + 8], rare[i]
    local grows = grown[gid]
    if not grows then grows = { n = 0, queues = {} }; grown[gid] = grows end
    local queue = grows.queues[sig]
    if not queue then queue = P .. 'q:' .. gid .. ':' .. sig; grows.queues[sig] = queue end
    grows.n = grows.n + 1
    local x = known[i] and string.match(known[i], EXPECTED)
    if x == '0' then x = nil end
    if x then
      given = given .. ' ' .. x
      if string.byte(x, -1) == FAILED then place = text[num(place) - FAILED_FIRST] end
    end
    call('HSET', jkeys[i], 's', 'q', 'i', given, 'h', ARGV[b + 1])
    if print ~= '' then later('HSET', HOLDERS, print, ulid) else call('HSET', jkeys[i], 'nd', '1') end
    if sig ~= '' then call('HSET', jkeys[i], 'sb', sig) end
    if run ~= '' then
      fresh[run] = true
      call('HSET', jkeys[i], 'rn', run)
      later('ZADD', P .. 'rj:' .. run, order, ulid)
    end
    local ready = true
    if seldom then
      if seldom.q then
        call('HSET', jkeys[i], 'qd', text[seldom.q])
        later('ZADD', P .. 'qx', text[seldom.q], ulid)
      end
      if seldom.o then
        call('HSET', jkeys[i], 'ov', seldom.o)
        later('ZADD', P .. 'ov', text[math.max(seldom.b or 0, num(now))], ulid)
      end
      if seldom.k then
        call('HSET', jkeys[i], 'ik', seldom.k)
        keep_entry(seldom.k, ulid, seldom.c)
      end
      if seldom.b and seldom.b > num(now) then
        ready = false
        call('HSET', jkeys[i], 'nb', text[seldom.b])
        later('ZADD', P .. 'dl', text[seldom.b], ulid)
      end
    end
    if ready then later('ZADD', queue, place, queued_as(ulid, x)) end
    texts[#texts + 1] = P .. 'd:' .. ulid
    texts[#texts + 1] = ARGV[b + 9]
    later('ZADD', UNFINISHED, order, ulid)
    event(ulid, '1', 'q', '0', nil, nil, nil)
  end
end
for i = 1, #texts, 4000 do call('MSET', unpack(texts, i, math.min(i + 3999, #texts))) end
for g = 1, groups do
  local b = 7 + (g - 1) * 3
  local grows = grown[ARGV[b]]
  if grows then
    if incomplete[ARGV[b]] then
      local fields = { 'a', ARGV[b + 1], 't', ARGV[b + 2] }
      for sig in pairs(grows.queues) do
        fields[#fields + 1] = 'q:' .. sig
        fields[#fields + 1] = '1'
      end
      call('HSET', P .. 'g:' .. ARGV[b], unpack(fields))
    end
    group_grows(ARGV[b], grows.n)
    moved(ARGV[b], nil, 'q', grows.n)
    later('SADD', P .. 'gs', ARGV[b])
  end
end
write_all()
local function write_runs()
  if not of_runs then return end
  local taken = of_runs.s
  for _, run in ipairs(of_runs.b) do
    if fresh[run] then bind(run, of_runs.c, text[of_runs.a], now) end
  end
  for i = 1, #taken, 2 do
    supersede(taken[i], taken[i + 1], fresh[taken[i + 1]], of_runs.m, of_runs.w, of_runs.k, of_runs.l)
  end
end
if all_new then
  write_runs()
  return { 'NEW' }
end

-- Submissions of jobs that are there: the run is added, the higher priority wins while the job is unfinished, the proposed
-- id becomes an alias, and a key that is new is remembered.
local answer = { 'OK' }
for i = 1, jobs do
  if (word[i] == 'DEDUP' or word[i] == 'KEYED') and not removed[i] then
    local b = base + (i - 1) * WIDTH
    local ulid, run = who[i], ARGV[b + 8]
    local key = P .. 'j:' .. ulid
    local v = there[ulid] or known_job(ulid)
    there[ulid] = v
    local status, changed = v[1], false
    if status then
      local gid, order, priority, retries, x = parts_of(v[2])
      local _, _, asked = parts_of(ARGV[b + 5])
      if num(asked) > num(priority) and (status == 'q' or status == 's' or status == 'r') then
        v[2] = submitted(gid, order, asked, retries, x)
        call('HSET', key, 'i', v[2])
        local queue = P .. 'q:' .. gid .. ':' .. signature(v[3], v[4])
        local name = queued_as(ulid, x)
        if call('ZSCORE', queue, name) then call('ZADD', queue, score(asked, order, x), name) end
        changed = true
      end
      -- '.' stands for a direct submission, which is what a job without runs has.
      local runs, wanted = v[5] or '.', run == '' and '.' or run
      if not string.find(',' .. runs .. ',', ',' .. wanted .. ',', 1, true) then
        fresh[run] = true
        v[5] = runs .. ',' .. wanted
        call('HSET', key, 'rn', v[5])
        if run ~= '' then call('ZADD', P .. 'rj:' .. run, order, ulid) end
        changed = true
      end
      if changed then
        v[6] = next_version(v[6])
        call('HSET', key, 'v', v[6], 'u', now)
        event(ulid, v[6], status, v[7] or '0', nil, nil, nil)
      end
      if word[i] == 'DEDUP' and rare[i] and rare[i].k then
        if not string.find(',' .. (v[8] or '') .. ',', ',' .. rare[i].k .. ',', 1, true) then
          v[8] = v[8] and v[8] .. ',' .. rare[i].k or rare[i].k
          call('HSET', key, 'ik', v[8])
        end
        keep_entry(rare[i].k, ulid, rare[i].c)
      end
      if string.find(ARGV[b + 2], 'o', 1, true) and ulid ~= ARGV[b] then
        call('SET', akeys[i], ulid .. ' ' .. ARGV[b + 1], 'PX', alias_ttl)
      end
    end
  end
  -- An alias is a late replay: what it asked for was done when it came first.
  answer[#answer + 1] = word[i] == 'ALIAS' and 'DEDUP' or word[i]
  answer[#answer + 1] = removed[i] and who[i] .. ' ' .. removed[i] or who[i]
end
write_events()
write_runs()
return answer
