-- Reads values of one client, and says which of others were deleted.
--
-- KEYS[1] what all keys of the client begin with (see state_put.lua)
-- ARGV[1] bytes after which no more values are read: they are asked for again
-- ARGV[2] how many of the names that follow are read; of the rest it is only asked whether they were deleted
-- ARGV[3] and so on: names
--
-- Returns: the values of the first names, null for those that are not there, and 1 or 0 for each of the rest.
local base, most, wanted = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local values, deleted, bytes = {}, {}, 0
for i = 3, wanted + 2 do
  if bytes >= most then break end
  local value = redis.call('GET', base .. ':' .. ARGV[i])
  values[#values + 1] = value
  bytes = bytes + (value and #value or 0)
end
for i = wanted + 3, #ARGV do
  deleted[#deleted + 1] = redis.call('GETRANGE', base .. ':' .. ARGV[i], 0, 0) == '\0' and 1 or 0
end
return {values, deleted}
