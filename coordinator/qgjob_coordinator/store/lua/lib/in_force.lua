-- Whether a person's word on an agent or a device is in force at `now` (ms): it has no end, or one that is to come.
local function held(key, now)
  for _, text in ipairs({ 'hold:draining', 'hold:reserved', 'hold:health' }) do
    local word = redis.call('HGET', key, text)
    local ends = word and cjson.decode(word).u
    if word and (ends == cjson.null or ends > now) then return true end
  end
  return false
end
