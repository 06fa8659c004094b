-- A client was not heard of for too long: ends its bond with a run, whose jobs are to be cancelled.
-- KEYS    1 prefix of the org
-- ARGV    1 run 2 client 3 the bond as it was seen all that time 4 why its jobs are cancelled
-- RETURNS OK, or MOVED (it was renewed or ended since)
--!include lib/org
--!include lib/runs
local field = ARGV[1] .. ' ' .. ARGV[2]
local found = call('HGET', P .. 'bo', field)
if found ~= ARGV[3] then return 'MOVED' end
call('HDEL', P .. 'bo', field)
to_cancel(ARGV[1], ARGV[2] .. ':' .. string.match(found, '%S+$'), ARGV[4])
return 'OK'
