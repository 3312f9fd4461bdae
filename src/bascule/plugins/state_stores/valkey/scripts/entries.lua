-- Entries are hashes e:KEY of v (value), x (when it ends), f (fence), e (epoch), t (tags). t:TAG is the sorted set of the keys
-- that carry a tag, by their end; `tags` that of the tags, by their last entry's end; `purged` when each tag was purged.
-- Only entries have a time to live of the server's: an eviction of volatile keys must not touch what purges depend on.
local function drop(key)
  local place = base .. 'e:' .. key
  local tags = call('HGET', place, 't')
  if tags then
    for _, tag in ipairs(cmsgpack.unpack(tags)) do call('ZREM', base .. 't:' .. tag, key) end
    call('DEL', place)
  end
end

local function carries(key, tag)
  local found = call('HMGET', base .. 'e:' .. key, 't', 'x')
  if not found[1] or tonumber(found[2]) <= now then return false end
  for _, one in ipairs(cmsgpack.unpack(found[1])) do
    if one == tag then return true end
  end
  return false
end
