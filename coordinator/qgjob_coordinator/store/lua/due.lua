-- What of one org time brings next.
-- KEYS    1 prefix of the org
-- ARGV    none
-- RETURNS {next delayed (ms) or '', next queue deadline (ms) or '', 1 when it has unfinished jobs, else 0, number of runs
--         to cancel, number of bonds, when a job's overflow is to be judged next (ms) or '', number of builds and suites
--         that have names}
local P = KEYS[1]
local call = redis.call
local delayed = call('ZRANGE', P .. 'dl', 0, 0, 'WITHSCORES')
local deadline = call('ZRANGE', P .. 'qx', 0, 0, 'WITHSCORES')
local overflow = call('ZRANGE', P .. 'ov', 0, 0, 'WITHSCORES')
return { delayed[2] or '', deadline[2] or '', call('EXISTS', P .. 'gs'), call('HLEN', P .. 'rc'),
  call('HLEN', P .. 'bo'), overflow[2] or '', call('HLEN', P .. 'bd') }
