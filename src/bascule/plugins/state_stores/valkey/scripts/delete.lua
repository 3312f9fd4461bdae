-- ARGV: time, key.
drop(ARGV[2])
call('PUBLISH', base .. 'gone', 'k' .. ARGV[2])
return 1
