-- ARGV: time, run. What this server remembers begins at `epoch`: a restart (another `run`) or a flush starts a new one, for a
-- snapshot may bring back what was purged after it was taken, and a flush forgets purges. Returns {epoch, time}.
if call('GET', base .. 'run') ~= ARGV[2] then
  call('SET', base .. 'run', ARGV[2])
  call('SET', base .. 'epoch', whole(now))
end
local epoch = call('GET', base .. 'epoch')
if not epoch then
  epoch = whole(now)
  call('SET', base .. 'epoch', epoch)
end
return {epoch, whole(now)}
