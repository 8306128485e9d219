"""The Lua scripts that Redis runs: the arithmetic of `account`, atomically, on the clock of Redis.

Keys come in pairs: a hash with the counts of each rule, and a sorted set of its running calls by the end of their
leases. In the hash, `n` is the time of the last write. `r` and `t` are the times when requests and tokens have drained.
`d` and `u` are the day and its tokens. If the clock was set back, the scripts move later times back by as much.
"""

from typing import Final

_READ: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function read(key)
  local held = redis.call('HMGET', key, 'n', 'r', 't', 'd', 'u')
  local back = math.max(0, (tonumber(held[1]) or now) - now)
  return {
    r = (tonumber(held[2]) or now) - back, t = (tonumber(held[3]) or now) - back,
    d = tonumber(held[4]) or 0, u = tonumber(held[5]) or 0,
  }
end
local function write(key, account)
  redis.call('HSET', key, 'n', string.format('%.6f', now), 'r', string.format('%.6f', account.r),
    't', string.format('%.6f', account.t), 'd', string.format('%d', account.d), 'u', string.format('%d', account.u))
  local seconds = math.max(account.r, account.t) - now + 60
  if account.u > 0 then seconds = math.max(seconds, 172800) end
  redis.call('EXPIRE', key, math.ceil(seconds))
end
"""

# ARGV: tokens, lease, its seconds; then for each rule: seconds of a request, of a token, concurrent, tokens per day.
# Returns whether the call is admitted, the time, the day; then for each rule r, t, running, tokens of the day.
ADMIT: Final = (
    _READ
    + """
local tokens, lease, lease_seconds = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local today = math.floor(now / 86400)
local accounts, admitted = {}, 1
for i = 1, #KEYS / 2 do
  local at = 4 * i
  local request_seconds, token_seconds = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local concurrent, day_tokens = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local account = read(KEYS[2 * i - 1])
  account.r, account.t = math.max(account.r, now), math.max(account.t, now)
  if account.d < today then account.d, account.u = today, 0 end
  account.running = 0
  if concurrent > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2 * i], '-inf', string.format('%.6f', now))
    account.running = redis.call('ZCARD', KEYS[2 * i])
    if account.running >= concurrent then admitted = 0 end
  end
  account.cost = math.min(tokens * token_seconds, 60)
  if request_seconds > 0 and account.r + request_seconds - now - 60 > 0.00001 then admitted = 0 end
  if token_seconds > 0 and account.t + account.cost - now - 60 > 0.00001 then admitted = 0 end
  account.taken = math.min(tokens, day_tokens)
  if day_tokens > 0 and account.u + account.taken > day_tokens then admitted = 0 end
  account.request_seconds, account.concurrent = request_seconds, concurrent
  accounts[i] = account
end
local reply = {admitted, string.format('%.6f', now), today}
for i, account in ipairs(accounts) do
  if admitted == 1 then
    account.r = account.r + account.request_seconds
    account.t = account.t + account.cost
    account.u = account.u + account.taken
    write(KEYS[2 * i - 1], account)
    if account.concurrent > 0 then
      local set = KEYS[2 * i]
      redis.call('ZADD', set, string.format('%.6f', now + lease_seconds), lease)
      if redis.call('TTL', set) < lease_seconds then redis.call('EXPIRE', set, math.ceil(lease_seconds)) end
      account.running = account.running + 1
    end
  end
  reply[#reply + 1] = string.format('%.6f', account.r)
  reply[#reply + 1] = string.format('%.6f', account.t)
  reply[#reply + 1] = account.running
  reply[#reply + 1] = string.format('%d', account.u)
end
return reply
"""
)

# ARGV: tokens, lease; then for each rule: seconds of a token, seconds charged, day, tokens taken from the day, and
# the seconds of a request if the call was not made.
SETTLE: Final = (
    _READ
    + """
local tokens, lease = tonumber(ARGV[1]), ARGV[2]
for i = 1, #KEYS / 2 do
  local at = 5 * i - 2
  local token_seconds, charged = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local day, taken = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local request_seconds = tonumber(ARGV[at + 4])
  redis.call('ZREM', KEYS[2 * i], lease)
  if token_seconds > 0 or taken > 0 or request_seconds > 0 then
    local account = read(KEYS[2 * i - 1])
    account.r = account.r - request_seconds
    local more = tokens * token_seconds - charged
    if token_seconds > 0 then
      if more > 0 then account.t = math.max(account.t, now) end
      account.t = account.t + more
    end
    if taken > 0 and account.d == day then account.u = math.max(0, account.u + tokens - taken) end
    write(KEYS[2 * i - 1], account)
  end
end
return 1
"""
)
