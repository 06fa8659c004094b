-- Which of some jobs can't be used: asked when a call has failed, so that no other one pays for it.
-- KEYS    1 prefix of the org
-- ARGV    ulids
-- RETURNS for each: 1 if what is kept of it is of another type, else {} (no such job) or {fields and values, what is kept
--         of its attempts}
local P = KEYS[1]
local answer = {}
for i, ulid in ipairs(ARGV) do
  local fields, text = redis.pcall('HGETALL', P .. 'j:' .. ulid), redis.pcall('GET', P .. 'd:' .. ulid)
  local e = fields.err or (type(text) == 'table' and text.err)
  if e and not string.find(e, 'WRONGTYPE', 1, true) then return { err = e } end
  answer[i] = e and 1 or (#fields > 0 and { fields, text or '' }) or {}
end
return answer
