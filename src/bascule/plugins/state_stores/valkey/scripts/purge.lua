-- ARGV: time, tag, how long purges are remembered, most entries to look at. Returns {removed, left to look at}.
-- Told to the others after the removal: whoever asks anew on hearing of it must not find what goes.
local tag = ARGV[2]
call('ZADD', base .. 'purged', whole(now), tag)
call('ZREMRANGEBYSCORE', base .. 'purged', '-inf', whole(now - tonumber(ARGV[3])))
local removed = 0
for _, key in ipairs(call('ZRANGE', base .. 't:' .. tag, 0, tonumber(ARGV[4]) - 1)) do
  if carries(key, tag) then
    drop(key)
    removed = removed + 1
  end
  call('ZREM', base .. 't:' .. tag, key)
end
call('PUBLISH', base .. 'gone', 't' .. tag)
return {removed, call('ZCARD', base .. 't:' .. tag)}
