-- What an agent has in an org. Needs lib/org, lib/attempt.

-- Of these, which stand among the leases of the agent, the jobs that it has; all are read before the first is changed.
-- What is no lease of its goes: each session of the agent would end over it. But one that names an agent which does not
-- have it ends the script: when it is mended nobody would look for it.
local function leases_of(agent, ulids)
  local jobs = {}
  for _, ulid in ipairs(ulids) do
    local j = fetch(ulid)
    if j and j.l and j.ag == agent then
      jobs[#jobs + 1] = j
    elseif j and j.l and call('SISMEMBER', P .. 'la:' .. j.ag, ulid) == 0 then
      error('the lease of job ' .. ulid .. ' names agent ' .. j.ag .. ', which does not have it', 0)
    else
      later('SREM', P .. 'la:' .. agent, ulid)
    end
  end
  return jobs
end
