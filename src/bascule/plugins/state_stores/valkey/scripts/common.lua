-- Before every script. KEYS[1]: what all keys begin with. ARGV[1]: the time in microseconds since 1970, for tests; "" for the
-- server's own, so that the clocks of the processes that share it do not matter.
local base = KEYS[1]
local call = redis.call
local now = tonumber(ARGV[1])
if not now then
  local t = call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end

-- A whole number as text: Lua's own conversion keeps 14 digits, a time in microseconds has 16.
local function whole(n) return string.format('%.0f', n) end
local function exact(n) return string.format('%.17g', n) end
local function ms(us) return whole(math.max(1, math.ceil(us / 1000))) end
