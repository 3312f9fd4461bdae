-- ARGV: time, then for each: key, end of its window, amount. What was used while this server was away.
forget()
for i = 2, #ARGV, 3 do
  local ends = tonumber(ARGV[i + 1])
  if ends > now then add(place_of(ARGV[i], ends), ends, tonumber(ARGV[i + 2])) end
end
return 1
