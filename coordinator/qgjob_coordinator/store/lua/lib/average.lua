-- The arithmetic of estimates; policy/estimates says what they mean, and why they move so.
local MEAN_GAIN, SPREAD_GAIN, REACH_SPREADS, REACH_SHARE, REACH_MS = 0.125, 0.25, 4, 0.5, 1000
local TYPICAL_GAIN, LOG_UNIT, LOG_REACH, FEW, ENOUGH = 0.015625, 1000000, 2000000, 3, 5
local floor, match, format = math.floor, string.match, string.format
local FAR = math.exp(LOG_REACH / LOG_UNIT)

-- Mean and spread from one measurement, whose logarithm is `log`; `typical` is nil where it is not known.
local function first(ms, log, typical)
  local off = typical and log - typical.log or 0
  if off > LOG_REACH then return floor(math.exp((typical.log + LOG_REACH) / LOG_UNIT) + 0.5), ms end
  if off < -LOG_REACH then return floor(math.exp((typical.log - LOG_REACH) / LOG_UNIT) + 0.5), ms end
  return ms, floor(ms / 2)
end

-- A test is kept as `mean! spread count` (ms); `!`, the `mark`, if its last run failed. Its mean is 0 while no run of it
-- was measured; `ms` is nil for a run that measured nothing. What is kept and can't be read is as if it were not there.
local function observe(known, mark, ms, log, typical)
  local mean, spread, n = 0, 0, 0
  if known then
    mean, spread, n = match(known, '^(%d+)!? (%d+) (%d+)$')
    mean, spread, n = (mean or 0) + 0, (spread or 0) + 0, (n or 0) + 0
  end
  if ms then
    local half = floor(mean / 2)
    if n == 1 and spread ~= half then   -- it is in doubt
      mean, spread = spread, floor(spread / 2)
      half = spread
    end
    local contradicted = n <= FEW and (ms > FAR * mean or mean > FAR * ms)
    if n == 0 or (contradicted and n == 1) then
      mean, spread = first(ms, log, typical)
      n = 1
    elseif contradicted then
      n = n - 1
      if n == 1 then spread = half end
    else
      local off, reach, gain = ms - mean, REACH_SPREADS * spread, 1 / (n + 1)
      if reach < REACH_SHARE * mean then reach = REACH_SHARE * mean end
      if reach < REACH_MS then reach = REACH_MS end
      if gain < MEAN_GAIN then gain = MEAN_GAIN end
      if off > reach then off = reach elseif off < -reach then off = -reach end
      mean = floor(mean + gain * off + 0.5)
      spread = floor(spread + SPREAD_GAIN * ((off < 0 and -off or off) - spread) + 0.5)
      n = n + 1
    end
  end
  return format('%d%s %d %d', mean, mark, spread, n)
end

-- A typical duration: the logarithm of ms in millionths, and how many were measured. It is kept as `log count`; what can't
-- be read is as if it were not there.
local function log_of(ms) return floor(math.log(ms) * LOG_UNIT + 0.5) end
local function typical_of(kept)
  local log, n = match(kept or '', '^(%d+) (%d+)$')
  return { log = (log or 0) + 0, n = (n or 0) + 0 }
end
local function observe_typical(t, log)
  local off, gain = log - t.log, 1 / (t.n + 1)
  if t.n == 0 then
    t.log = log
  else
    if gain < TYPICAL_GAIN then gain = TYPICAL_GAIN end
    if t.n >= ENOUGH then
      if off > LOG_REACH then off = LOG_REACH elseif off < -LOG_REACH then off = -LOG_REACH end
    end
    t.log = floor(t.log + gain * off + 0.5)
  end
  t.n = t.n + 1
end
local function kept_as(t) return format('%d %d', t.log, t.n) end
