-- An operator's word on a device or on an agent.
-- KEYS    1 prefix of the fleet
-- ARGV    1 'dv' or 'ag' 2 id 3 now (ms) 4 rule or '' 5 operation id or '' 6 operation ttl (ms); then pairs of field
--         (hold:draining, hold:reserved, hold:health, labels, record) and value (JSON), or '' to remove it
-- RETURNS {word, sequence number of the fleet's holds, agent, reservation in force or ''}: OK (the first number when the
--         operation was done before), UNKNOWN (no such device or agent), RESERVED (rule `reserve`: a reservation is in
--         force; rule `resume`: and nothing else is), FREE (rules `release` and `extend`: none is)
-- By rule `extend` a reservation without a reason has that of the one whose place it takes.
-- A record that is removed leaves a new version, so that none is written again that was made from it (see health.lua).
local F, now, rule = KEYS[1], tonumber(ARGV[3]), ARGV[4]
local call = redis.call
local key = F .. ARGV[1] .. ':' .. ARGV[2]
if call('EXISTS', key) == 0 then return { 'UNKNOWN', 0, '', '' } end
local agent = ARGV[1] == 'ag' and ARGV[2] or call('HGET', key, 'agent')
local done = ARGV[5] ~= '' and call('GET', F .. 'op:' .. ARGV[5])
if done then return { 'OK', tonumber(done), agent, '' } end

local function in_force(field)
  local text = call('HGET', key, field)
  if not text then return nil end
  local ends = cjson.decode(text).u
  return (ends == cjson.null or ends > now) and text or nil
end

-- The quarantine that the device's own failures led to: it has no end by itself.
local function quarantined()
  local record = call('HGET', key, 'record')
  return record and cjson.decode(record).q ~= nil
end

local reservation = in_force('hold:reserved')
if rule ~= '' then
  if (rule == 'release' or rule == 'extend') and not reservation then return { 'FREE', 0, '', '' } end
  local alone = rule == 'resume' and not in_force('hold:draining') and not in_force('hold:health') and not quarantined()
  if reservation and (rule == 'reserve' or alone) then return { 'RESERVED', 0, '', reservation } end
end

local function worded(value)
  local hold = cjson.decode(value)
  if hold.r == cjson.null then hold.r = cjson.decode(reservation).r end
  return cjson.encode(hold)
end

for i = 7, #ARGV, 2 do
  local value = rule == 'extend' and worded(ARGV[i + 1]) or ARGV[i + 1]
  if value == '' then call('HDEL', key, ARGV[i]) else call('HSET', key, ARGV[i], value) end
  if ARGV[i] == 'record' then call('HINCRBY', key, 'record_v', 1) end
end
local number = call('HINCRBY', F .. 'store', 'holds', 1)
if ARGV[5] ~= '' then call('SET', F .. 'op:' .. ARGV[5], number, 'PX', ARGV[6]) end
return { 'OK', number, agent, '' }
