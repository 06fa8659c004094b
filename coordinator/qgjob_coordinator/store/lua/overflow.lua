-- Puts queued jobs into the groups of their second targets, each once; of others it is said when to judge them again.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 groups; a group: gid, app version, target; then for each job: ulid, the version that was judged,
--         gid it goes to or '' (it stays), the wait that was expected (ms) or '-', when to judge it again (ms)
-- RETURNS for each: MOVED, STAYS, or nothing was done: CHANGED (it has another version) or GONE (it is not queued any
--         more, or is past its first attempt); a job that came back to its queue is judged anew
--!include lib/org
--!include lib/attempt
local now, groups = ARGV[1], num(ARGV[2])
local base = 3 + groups * 3
local of = {}
for at = 3, base - 1, 3 do of[ARGV[at]] = { version = ARGV[at + 1], target = ARGV[at + 2] } end

-- Check.
local jobs, words, tests, place = {}, {}, {}, {}
for i = base, #ARGV, 5 do
  local n, ulid, seen, gid = #jobs + 1, ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local j = load(ulid) or { ulid = ulid }
  jobs[n] = j
  if j.mv and gid == j.g and j.v == text[num(seen) + 2] then
    words[n] = 'MOVED'   -- it came before
  elseif j.s ~= 'q' or not may_overflow(j) then
    words[n] = 'GONE'
  elseif j.v ~= next_version(seen) then
    words[n] = 'CHANGED'
  elseif gid == '' or j.nb then
    words[n] = 'STAYS'
  else
    tests[#tests + 1] = test_of(gid, j.h)
    place[n] = #tests
  end
end
local known = #tests > 0 and call('HMGET', P .. 'est', unpack(tests))

-- Write.
for n, j in ipairs(jobs) do
  local i = base + (n - 1) * 5
  local ulid, gid = j.ulid, ARGV[i + 2]
  if place[n] then
    words[n] = 'MOVED'
    local x = known[place[n]] and string.match(known[place[n]], EXPECTED)
    if x == '0' then x = nil end
    later('ZREM', P .. 'q:' .. j.g .. ':' .. signature(j.sb, nil), queued_as(ulid, j.x))
    later('ZREM', P .. 'ov', ulid)
    call('HSET', P .. 'j:' .. ulid, 'i', submitted(gid, j.o, j.p, j.mr, x), 'mv', now .. ' ' .. ARGV[i + 3], 'v', j.v,
      'u', now)
    later('HSET', P .. 'g:' .. gid, 'a', of[gid].version)
    later('HSET', P .. 'g:' .. gid, 't', of[gid].target)
    later('SADD', P .. 'gs', gid)
    enqueue(ulid, gid, signature(j.sb, nil), j.p, j.o, x)
    group_grows(j.g, -1)
    group_grows(gid, 1)
    moved(j.g, 'q', nil)
    moved(gid, nil, 'q')
    event(ulid, j.v, 'q', j.n, nil, nil, nil)
  elseif words[n] == 'STAYS' then
    later('ZADD', P .. 'ov', ARGV[i + 4], ulid)
  elseif words[n] == 'GONE' then
    later('ZREM', P .. 'ov', ulid)
  end
end
write_all()
return words
