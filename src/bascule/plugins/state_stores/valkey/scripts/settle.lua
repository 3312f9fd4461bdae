-- ARGV: time, id, amounts... A lease that has ended was given back, or is now.
local id = ARGV[2]
local ends = call('ZSCORE', base .. 'ends', id)
forget()
if not ends then return 0 end
if tonumber(ends) <= now then
  close(id, nil)
  return 0
end
local used = {}
for i = 3, #ARGV do used[#used + 1] = tonumber(ARGV[i]) end
close(id, used)
return 1
