-- ARGV: time, key, limit, window, amount. GCRA as ITU-T I.371's continuous-state leaky bucket: a level that sinks by `limit` in
-- each window and may not rise above it. Returns the microseconds to wait, 0 when admitted.
local key, limit, window, amount = base .. 'r:' .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local level = 0
local kept = call('GET', key)
if kept then
  local was, at = string.match(kept, '^(%S+) (%S+)$')
  if tonumber(at) > now then call('SET', key, was .. ' ' .. whole(now), 'KEEPTTL') end -- the clock was set back
  level = math.max(0, tonumber(was) - math.max(0, now - tonumber(at)) * limit / window)
end
local over = level + amount - limit
if over > 1e-6 then return math.ceil(over * window / limit) end
level = level + amount
call('SET', key, exact(level) .. ' ' .. whole(now), 'PX', ms(level * window / limit + 1000))
return 0
