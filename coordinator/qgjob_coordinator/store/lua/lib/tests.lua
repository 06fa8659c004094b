-- How a test is named among the estimates of an org, the hash `est`. Needs lib/org. `*` in it is no test but the org's
-- typical duration.

-- A test's field: the letter of its target, then its path as the line of its spec quotes it.
local function test_of(gid, spec)
  local _, from = string.find(spec, ',"p":"', 1, true)
  local to, back = from, nil
  repeat
    to = string.find(spec, '"', to + 1, true)
    back = to - 1
    while string.byte(spec, back) == 92 do back = back - 1 end   -- 92: \; an odd number of them quotes the mark
  until (to - back) % 2 == 1
  return string.sub(gid, 1, 1) .. string.sub(spec, from + 1, to - 1)
end
