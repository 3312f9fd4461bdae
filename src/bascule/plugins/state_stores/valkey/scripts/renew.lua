-- ARGV: time, key, token, ttl, how long tokens of a key are remembered. Returns 1, or 0 when it is no longer this token's.
local place = base .. 'l:' .. ARGV[2]
local found = call('HMGET', place, 'token', 'done', 'free')
if found[1] ~= ARGV[3] or found[2] or found[3] then return 0 end
call('HSET', place, 'ends', whole(now + tonumber(ARGV[4])))
call('PEXPIRE', place, ms(math.max(tonumber(ARGV[4]), tonumber(ARGV[5]))))
return 1
