"""The Lua that Redis runs to write rows: atomic, whoever else is writing."""

from __future__ import annotations

NEWER = """
local function times(row) return struct.unpack('<I4i4I4i4', row, 9) end
local function superseded(old, row)
  if #old < 24 or string.byte(old) < 1 or string.byte(old) > 2 then return false end
  local el, eh, cl, ch = times(row)
  local oel, oeh, ocl, och = times(old)
  if eh ~= oeh then return eh < oeh end
  if el ~= oel then return el < oel end
  if ch ~= och then return ch < och end
  return cl < ocl
end
local px, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local function expiry(row)
  local el, eh = times(row)
  return px + math.max(0, (eh * 4294967296 + el) / 1000 - now)
end
local applied = 0
"""
"""Times are compared as words of 32 bits, which Lua's numbers hold exactly; ties go to the later arrival. They lie in
the same places in row formats 1 and 2; a row of any other is replaced."""

STRINGS = (
    NEWER
    + """
for i, key in ipairs(KEYS) do
  local row = ARGV[i + 2]
  if not superseded(redis.call('GETRANGE', key, 0, 23), row) then
    if px > 0 then
      redis.call('SET', key, row, 'PX', string.format('%.0f', expiry(row)))
    else
      redis.call('SET', key, row)
    end
    applied = applied + 1
  end
end
return applied
"""
)
HASHES = (
    NEWER
    + """
local key, left, most
local function finish()
  if not most then return end
  if px == 0 then
    if left >= 0 then redis.call('PERSIST', key) end
  elseif left < most then
    redis.call('PEXPIRE', key, string.format('%.0f', most))
  end
end
for i, k in ipairs(KEYS) do
  if k ~= key then
    finish()
    key, left, most = k, redis.call('PTTL', k), nil
  end
  local row, field = ARGV[i + 2], ARGV[#KEYS + i + 2]
  if not superseded(redis.call('HGET', key, field) or '', row) then
    redis.call('HSET', key, field, row)
    most = math.max(most or 0, expiry(row))
    applied = applied + 1
  end
end
finish()
return applied
"""
)
