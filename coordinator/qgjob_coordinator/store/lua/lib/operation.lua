-- Operations that callers named. Needs lib/org. What is kept is a digest of what was asked for, and the first answer.

local DIGEST = 24   -- characters of a digest

-- The answer to an operation that came before, {'REUSED'} when its id was used for something else, nil for a new one.
local function first_answer(kind, id, digest)
  local kept = id ~= '' and call('GET', P .. 'op:' .. kind .. ':' .. id)
  if not kept then return nil end
  if string.sub(kept, 1, DIGEST) ~= digest then return { 'REUSED' } end
  return cjson.decode(string.sub(kept, DIGEST + 1))
end

local function keep_answer(kind, id, digest, answer, ttl)
  if id ~= '' then call('SET', P .. 'op:' .. kind .. ':' .. id, digest .. cjson.encode(answer), 'PX', ttl) end
end
