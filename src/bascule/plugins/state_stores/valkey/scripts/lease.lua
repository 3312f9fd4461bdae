-- ARGV: time, key, ttl, age, how long tokens of a key are remembered. Leases are hashes l:KEY of token, ends, and done (when)
-- or free. `token` outlives them all; being at least the time, it grows also over a flush. Returns {state, token}.
local place, age = base .. 'l:' .. ARGV[2], tonumber(ARGV[4])
local found = call('HMGET', place, 'token', 'ends', 'done', 'free')
if found[1] and not found[4] and tonumber(found[2]) > now then
  if not found[3] then return {'held', found[1]} end
  if age > 0 and tonumber(found[3]) >= now - age then return {'done', found[1]} end
end
local token = whole(math.max(now, tonumber(call('GET', base .. 'token') or 0) + 1, tonumber(found[1] or 0) + 1))
call('SET', base .. 'token', token)
call('DEL', place)
call('HSET', place, 'token', token, 'ends', whole(now + tonumber(ARGV[3])))
call('PEXPIRE', place, ms(math.max(tonumber(ARGV[3]), tonumber(ARGV[5]))))
return {'mine', token}
