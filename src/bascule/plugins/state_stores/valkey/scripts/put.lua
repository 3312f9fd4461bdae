-- ARGV: time, key, value, ttl, age, fence, earliest time the work can have begun ("" if not known), tags...
local key, ttl, fence = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[6])
local place = base .. 'e:' .. key
if fence > 0 then
  local leader = tonumber(call('HGET', base .. 'l:' .. key, 'token') or 0)
  local owner = tonumber(call('HGET', place, 'f') or 0)
  if leader > fence or owner > fence then return 0 end
end
drop(key)
call('PUBLISH', base .. 'gone', 'k' .. key)
if ttl <= 0 then return 0 end
local epoch = call('GET', base .. 'epoch')
if not epoch then
  epoch = whole(now)
  call('SET', base .. 'epoch', epoch)
end
local began = math.min(now - tonumber(ARGV[5]), tonumber(ARGV[7]) or now)
if began < tonumber(epoch) then return 0 end
local tags = {}
for i = 8, #ARGV do
  local purged = call('ZSCORE', base .. 'purged', ARGV[i])
  if purged and tonumber(purged) >= began then return 0 end
  tags[#tags + 1] = ARGV[i]
end
local ends = whole(now + ttl)
call('HSET', place, 'v', ARGV[3], 'x', ends, 'f', ARGV[6], 'e', epoch, 't', cmsgpack.pack(tags))
call('PEXPIRE', place, ms(ttl))
for _, tag in ipairs(tags) do
  call('ZADD', base .. 't:' .. tag, ends, key)
  call('ZREMRANGEBYSCORE', base .. 't:' .. tag, '-inf', whole(now))
  call('ZADD', base .. 'tags', 'GT', ends, tag)
end
for _, tag in ipairs(call('ZRANGEBYSCORE', base .. 'tags', '-inf', whole(now), 'LIMIT', 0, 20)) do
  call('DEL', base .. 't:' .. tag)
  call('ZREM', base .. 'tags', tag)
end
return 1
