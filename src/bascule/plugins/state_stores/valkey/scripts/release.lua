-- ARGV: time, key, token, how long "done" is remembered, how long tokens of a key are.
local place, done = base .. 'l:' .. ARGV[2], tonumber(ARGV[4])
if call('HGET', place, 'token') ~= ARGV[3] then return 0 end
if done > 0 then
  call('HSET', place, 'done', whole(now), 'ends', whole(now + done))
else
  call('HSET', place, 'free', '1')
end
call('PEXPIRE', place, ms(math.max(done, tonumber(ARGV[5]))))
return 1
