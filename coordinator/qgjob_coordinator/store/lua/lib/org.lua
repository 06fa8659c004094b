-- Shared by the scripts of an org's tag. KEYS[1] is the org's prefix.
local P = KEYS[1]
local call = redis.call

-- What a class and a failure in the last run are worth, in millionths of a second of waiting: see policy/rank.py.
local HEAD_START = { [1] = 0, [2] = 1200000000, [3] = 28800000000 }
local FAILED_FIRST = 600000000
local FAILED = 33                -- `!`, the mark of a test that failed in its last run
local PRINT = 20                 -- characters of a content hash that are the fingerprint
local PATH = 12                  -- of these, at their end, the digest of the test's path
local EVENTS_KEPT = 1000         -- stream entries, each of up to 100 transitions

local UNFINISHED = P .. 'ix:a'   -- made once: each concatenation makes and hashes a text
local HOLDERS = P .. 'dd'

local function bool(x) if x then return true end return false end
local function num(x) return tonumber(x) or 0 end
-- Whole numbers as text, each formatted once: Lua formats at every concatenation and call, which costs more than both.
local text = setmetatable({}, { __index = function(known, n)
  local s = string.format('%.0f', n)
  known[n] = s
  return s
end })
-- The version after this one; a job has 1 until it changes.
local function next_version(v) return text[num(v or 1) + 1] end

-- A variadic command over any number of arguments, in slices that unpack can take.
local function many(cmd, key, list)
  local n = #list
  for i = 1, n, 4000 do call(cmd, key, unpack(list, i, math.min(i + 3999, n))) end
end

-- Lists by key, written at the end in one command each.
local pending = {}
local function later(cmd, key, a, b)
  local per = pending[cmd]
  if not per then per = {}; pending[cmd] = per end
  local list = per[key]
  if not list then list = {}; per[key] = list end
  list[#list + 1] = a
  if b then list[#list + 1] = b end
end
local function write_pending()
  for cmd, per in pairs(pending) do
    for key, list in pairs(per) do many(cmd, key, list) end
  end
  pending = {}
end

local counts = {}
local function count(field, n) counts[field] = (counts[field] or 0) + n end
-- Jobs by target and status, as letters. `from` or `to` nil: it comes or goes.
local moves = {}
local function moved(gid, from, to, n)
  local move = string.sub(gid, 1, 1) .. (from or '-') .. (to or '-')
  moves[move] = (moves[move] or 0) + (n or 1)
end
local function write_counts()
  for move, n in pairs(moves) do
    local target, from, to = string.match(move, '(.)(.)(.)')
    if from ~= '-' then count(from .. target, -n) end
    if to ~= '-' then count(to .. target, n) end
  end
  moves = {}
  for field, n in pairs(counts) do
    if n ~= 0 then call('HINCRBY', P .. 'ct', field, n) end
  end
  counts = {}
end

-- One transition: ulid version status attempt outcome device agent
local events = {}
local function event(ulid, version, status, attempt, outcome, device, agent)
  events[#events + 1] = ulid .. ' ' .. version .. ' ' .. status .. ' ' .. attempt .. ' ' .. (outcome or '-') ..
    ' ' .. (device or '-') .. ' ' .. (agent or '-')
end
local function write_events()
  for i = 1, #events, 100 do
    call('XADD', P .. 'ev', 'MAXLEN', '~', EVENTS_KEPT, '*', 'e',
      table.concat(events, '\n', i, math.min(i + 99, #events)))
  end
  events = {}
end

-- Unfinished jobs of groups.
local unfinished = {}
local function group_grows(gid, n) unfinished[gid] = (unfinished[gid] or 0) + n end
local function write_groups()
  for gid, n in pairs(unfinished) do
    if n ~= 0 then
      local left = call('HINCRBY', P .. 'g:' .. gid, 'u', n)
      if left <= 0 then
        call('DEL', P .. 'g:' .. gid)
        call('SREM', P .. 'gs', gid)
      end
    end
  end
  unfinished = {}
end

-- Attempts that devices hold for a group.
local holds = {}
local function device_holds(gid, device, n)
  local per = holds[gid]
  if not per then per = {}; holds[gid] = per end
  per[device] = (per[device] or 0) + n
end
local function write_holds()
  for gid, per in pairs(holds) do
    for device, n in pairs(per) do
      if n ~= 0 and call('HINCRBY', P .. 'gd:' .. gid, device, n) <= 0 then
        call('HDEL', P .. 'gd:' .. gid, device)
      end
    end
  end
  holds = {}
end

local function write_all()
  write_pending()
  write_holds()
  write_groups()
  write_counts()
  write_events()
end

local function signature(base, avoid)
  base = base or ''
  if avoid and avoid ~= '' then return base .. '!' .. avoid end
  return base
end
-- A job's place on its queue, the smaller is served first, and its name there. `x` is what was expected of it when it
-- was submitted: ms, and `!` if its test had failed in its last run. It stands in the name so that a plan sees it too.
local function score(priority, order, x)
  local failed = x and string.byte(x, -1) == FAILED and FAILED_FIRST or 0
  return num(order) - HEAD_START[num(priority)] - failed
end
local function queued_as(ulid, x)
  if x then return ulid .. ' ' .. x end
  return ulid
end

-- What a job has from its submission is one field, so that it is written, found and kept in little: gid order priority
-- retries expected. It is written anew when the priority rises.
local function submitted(gid, order, priority, retries, x)
  local field = gid .. ' ' .. order .. ' ' .. priority .. ' ' .. retries
  if x then return field .. ' ' .. x end
  return field
end
-- The same apart; what was expected is nil when nothing was known. All are nil of a field that can't be read.
local function parts_of(field)
  local gid, order, priority, retries, x = string.match(field, '^([edb]%S*) (%d+) ([123]) (%d+) ?(%S*)$')
  if x == '' then x = nil end
  return gid, order, priority, retries, x
end

-- Ends a script, before it has changed anything: one record that can't be used leaves the others as they were.
local function damaged() error('a record lacks what each job has', 0) end
-- By the letter of a job's status, whether it can't be without a lease: 1, or 0.
local STATES = { q = 0, s = 1, r = 1, c = 0, f = 0, x = 0 }

-- How a test is named among the estimates of an org, the hash `est`: the letter of its target, the digest of its path.
local function test_of(gid, hash) return string.sub(gid, 1, 1) .. string.sub(hash, PRINT - PATH + 1, PRINT) end
-- What is expected of a job, in an estimate; one that can't be read is as if it were not there.
local EXPECTED = '^(%d+!?) %d+ %d+$'

-- A lease is one field, so that it is written, read and deleted in one go: epoch token agent device scheduled. All are
-- nil of one that can't be read.
local function lease_of(text) return string.match(text, '^(%d+) (%S+) (%S+) (%S+) (%d+)$') end
-- Who holds it: token agent device. To take out the rest too makes two texts that nobody reads.
local function holder_of(text) return string.match(text, '^%S+ (%S+) (%S+) (%S+) ') end

-- Puts a ready job on its queue.
local function enqueue(ulid, gid, sig, priority, order, x)
  later('ZADD', P .. 'q:' .. gid .. ':' .. sig, score(priority, order, x), queued_as(ulid, x))
  later('HSET', P .. 'g:' .. gid, 'q:' .. sig, '1')
end
