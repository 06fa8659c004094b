-- Runs that are to be cancelled, and what a submission does to runs: it takes a key from the one that had it, and binds
-- its own to a client. Needs lib/org.

-- Whoever finds the mark cancels what is unfinished in the run, and takes the mark away if it is still the same.
-- `mark`: what no other mark of the run begins with, without a space.
local function to_cancel(run, mark, reason) call('HSET', P .. 'rc', run, mark .. ' ' .. reason) end

-- Binds the run to a client that goes away when it is not heard of for so long (ms), or renews the bond. The counter of
-- a new one begins with the time, so that it goes on from no number that an older one had.
local function bind(run, client, after, now)
  local field = run .. ' ' .. client
  local known = call('HGET', P .. 'bo', field)
  local counter = num(known and string.match(known, '%S+$') or now)
  call('HSET', P .. 'bo', field, after .. ' ' .. text[counter + 1])
end

local AGAIN = ' before; a run that is begun again needs a run id of its own'

-- The run gets the key of this digest; the run that had it is to be cancelled once no more follows of this one.
-- fresh: this call brings the run something new.
local function supersede(digest, run, fresh, more_follows, mark, key_ttl, run_ttl)
  local key = P .. 'su:' .. digest
  local v = call('HMGET', key, 'run', 'old')
  local old = {}
  for x in string.gmatch(v[2] or '', '[^,]+') do
    old[#old + 1] = x
    old[x] = true
  end
  if v[1] ~= run then
    if not fresh then return end   -- it came before
    local by = call('GET', P .. 'sd:' .. run)
    if by then
      -- It has lost a key, so this came late. While the run that took the key is not complete, its marks are still to come.
      if not old[run] then to_cancel(run, mark, 'superseded by run ' .. by .. AGAIN) end
      return
    end
    if v[1] then
      old[#old + 1] = v[1]
      call('SET', P .. 'sd:' .. v[1], run, 'PX', run_ttl)
    end
    call('HSET', key, 'run', run)
    if #old > 0 then call('HSET', key, 'old', table.concat(old, ',')) end
    call('PEXPIRE', key, key_ttl)
  end
  if more_follows or #old == 0 then return end
  for _, x in ipairs(old) do
    call('SET', P .. 'sd:' .. x, run, 'PX', run_ttl)
    to_cancel(x, mark, 'superseded by run ' .. run)
  end
  call('HDEL', key, 'old')
end
