-- Files of attempts are about to be kept, or are: what was written first stays, and an attempt has so much and no more.
-- KEYS    1 prefix of the org
-- ARGV    1 now (ms) 2 most files of an attempt 3 most bytes of one; then for each: ulid, attempt, number of entries, and
--         of each entry field, value, and for a file its size, else '' (see artifacts.py)
-- RETURNS for each: all fields and values of the job; GONE while what was kept of it is removed; FULL and what the attempt
--         has, files and bytes, where these would be too many: nothing of them is written
local P, now, most_files, most_bytes = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- What an attempt has: files and bytes. Where nobody has counted yet, its files are.
local function has(kept, attempt)
  local counted = redis.call('HGET', kept, '#' .. attempt)
  if counted then
    local files, bytes = string.match(counted, '^(%d+) (%d+)$')
    return tonumber(files), tonumber(bytes)
  end
  local files, bytes, of = 0, 0, attempt .. ' '
  local all = redis.call('HGETALL', kept)
  for i = 1, #all, 2 do
    local field = all[i]
    if string.sub(field, 1, #of) == of and #field > #of and string.sub(field, -1) ~= '/' then
      files, bytes = files + 1, bytes + cjson.decode(all[i + 1])[3]
    end
  end
  return files, bytes
end

local function add(ulid, attempt, first, last)
  local kept = P .. 'ar:' .. ulid
  if redis.call('HEXISTS', kept, 'gone') == 1 then return 'GONE' end
  local new_files, new_bytes = 0, 0
  for i = first, last, 3 do
    if ARGV[i + 2] ~= '' and redis.call('HEXISTS', kept, ARGV[i]) == 0 then
      new_files, new_bytes = new_files + 1, new_bytes + tonumber(ARGV[i + 2])
    end
  end
  if new_files > 0 then
    local files, bytes = has(kept, attempt)
    if files + new_files > most_files or bytes + new_bytes > most_bytes then
      return { 'FULL', files, string.format('%.0f', bytes) }
    end
    local sum = string.format('%.0f %.0f', files + new_files, bytes + new_bytes)
    redis.call('HSET', kept, '#' .. attempt, sum)
  end
  redis.call('ZADD', P .. 'ak', now, ulid)
  for i = first, last, 3 do
    redis.call('HSETNX', kept, ARGV[i], ARGV[i + 1])
  end
  return redis.call('HGETALL', kept)
end

local answer, i = {}, 4
while i <= #ARGV do
  local last = i + 2 + 3 * tonumber(ARGV[i + 2])
  answer[#answer + 1] = add(ARGV[i], ARGV[i + 1], i + 3, last)
  i = last + 1
end
return answer
