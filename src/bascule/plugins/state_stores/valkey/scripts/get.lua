-- ARGV: time, key. Returns {value, microseconds left, tags}, or nothing.
local found = call('HMGET', base .. 'e:' .. ARGV[2], 'v', 'x', 'e', 't')
if not found[1] or tonumber(found[2]) <= now or found[3] ~= call('GET', base .. 'epoch') then return false end
return {found[1], whole(tonumber(found[2]) - now), found[4]}
