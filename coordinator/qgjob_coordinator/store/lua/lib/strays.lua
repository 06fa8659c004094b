-- What stands on a queue and does not wait there. Each plan would propose it first, each claim refuse it. Needs lib/org.

local HEADS = 64   -- a plan is shown no more of a queue: HEADS in policy/snapshot.py
-- Takes jobs off all queues of a group where a plan sees them. By name, whatever it is: their records may be gone.
local function take_off(gid, strays)
  for _, field in ipairs(call('HKEYS', P .. 'g:' .. gid)) do
    if string.sub(field, 1, 2) == 'q:' then
      local queue = P .. 'q:' .. gid .. string.sub(field, 2)
      for _, name in ipairs(call('ZRANGE', queue, 0, HEADS - 1)) do
        if strays[string.match(name, '^%S+')] then later('ZREM', queue, name) end
      end
    end
  end
end
