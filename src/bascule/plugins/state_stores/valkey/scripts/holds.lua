-- What is held: h:PLACE, a place being a claim's key and the end of its window (0 for a slot). `windows`: the places by their
-- end. `held`: the places and amounts of each reservation; `ends`: the reservations by the end of their lease.
local SLACK = 1e-9
local DAY = 86400000000

-- Days since 1970 to (year, month) and back, after Howard Hinnant's chrono-compatible calendar algorithms.
local function month_of(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return yoe + era * 400 + (month <= 2 and 1 or 0), month
end

local function first_of(year, month)
  local y = month <= 2 and year - 1 or year
  local era = math.floor(y / 400)
  local yoe = y - era * 400
  local doy = math.floor((153 * (month > 2 and month - 3 or month + 9) + 2) / 5)
  return era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
end

local function end_of(kind, window)
  if kind == 'slot' then return 0 end
  if kind == 'window' then return (math.floor(now / window) + 1) * window end
  local year, month = month_of(math.floor(now / DAY))
  if month == 12 then return first_of(year + 1, 1) * DAY end
  return first_of(year, month + 1) * DAY
end

local function place_of(key, ends) return whole(ends) .. '|' .. key end
local function is_slot(place) return string.sub(place, 1, 2) == '0|' end

local function change(place, by)
  local held = call('GET', base .. 'h:' .. place)
  if not held then return end
  held = math.max(0, tonumber(held) + by)
  if held <= SLACK and is_slot(place) then
    call('DEL', base .. 'h:' .. place)
  else
    call('SET', base .. 'h:' .. place, exact(held))
  end
end

local function add(place, ends, amount)
  local held = call('GET', base .. 'h:' .. place)
  if not held and ends > 0 then call('ZADD', base .. 'windows', whole(ends), place) end
  call('SET', base .. 'h:' .. place, exact(tonumber(held or 0) + amount))
end

-- `used` nil: all of it is given back.
local function close(id, used)
  local packed = call('HGET', base .. 'held', id)
  if not packed then return end
  -- First, for a full server lets a script write that has begun by removing something.
  call('HDEL', base .. 'held', id)
  call('ZREM', base .. 'ends', id)
  local holds = cmsgpack.unpack(packed)
  for i = 1, #holds, 2 do
    local place, reserved = holds[i], tonumber(holds[i + 1])
    if not used or is_slot(place) then
      change(place, -reserved)
    elseif used[(i + 1) / 2] then
      change(place, used[(i + 1) / 2] - reserved)
    end
  end
end

local function forget()
  for _, id in ipairs(call('ZRANGEBYSCORE', base .. 'ends', '-inf', whole(now), 'LIMIT', 0, 200)) do
    close(id, nil)
    call('ZREM', base .. 'ends', id)
  end
  for _, place in ipairs(call('ZRANGEBYSCORE', base .. 'windows', '-inf', whole(now), 'LIMIT', 0, 200)) do
    call('DEL', base .. 'h:' .. place)
    call('ZREM', base .. 'windows', place)
  end
end
