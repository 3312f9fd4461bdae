-- ARGV: time, id, lease, then for each claim: key, amount, limit, window, kind. Returns {0} when all are held, or
-- {the claim that refused, microseconds until its window ends (-1: not known)}.
forget()
local places, taken, packed = {}, {}, {}
for i = 4, #ARGV, 5 do
  local key, amount, limit = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local ends = end_of(ARGV[i + 4], tonumber(ARGV[i + 3]))
  local place = place_of(key, ends)
  local held = tonumber(call('GET', base .. 'h:' .. place) or 0) + (taken[place] or 0)
  if held + amount > limit + SLACK then return {(i + 1) / 5, ends > 0 and whole(ends - now) or '-1'} end
  taken[place] = (taken[place] or 0) + amount
  places[#places + 1] = {place, ends, amount}
end
for _, one in ipairs(places) do
  add(one[1], one[2], one[3])
  packed[#packed + 1] = one[1]
  packed[#packed + 1] = exact(one[3])
end
call('HSET', base .. 'held', ARGV[2], cmsgpack.pack(packed))
call('ZADD', base .. 'ends', whole(now + tonumber(ARGV[3])), ARGV[2])
return {0}
