"""What Redis runs: the rules of `account`, in Lua, whole or not at all, on Redis' own clock.

Keys come in pairs: a hash of each term's counts, and a sorted set of its calls under way by when their lease ends. In
the hash: `n` when it was last written, `r` and `t` until when requests and tokens take to drain, `d` and `u` the day
and its tokens. Where the clock was set back, moments of the future come back by as much.
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

# ARGV: tokens, lease, its seconds; then of each term: seconds of a request, of a token, concurrent, tokens per day.
# Returns whether it is admitted, the moment, the day; then of each term r, t, running, tokens of the day.
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
local told = {admitted, string.format('%.6f', now), today}
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
  told[#told + 1] = string.format('%.6f', account.r)
  told[#told + 1] = string.format('%.6f', account.t)
  told[#told + 1] = account.running
  told[#told + 1] = string.format('%d', account.u)
end
return told
"""
)

# ARGV: tokens, lease; then of each term: seconds of a token, seconds reserved, day, its tokens that were taken, and
# the seconds of a request where it was none.
SETTLE: Final = (
    _READ
    + """
local tokens, lease = tonumber(ARGV[1]), ARGV[2]
for i = 1, #KEYS / 2 do
  local at = 5 * i - 2
  local token_seconds, reserved = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local day, taken = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local request_seconds = tonumber(ARGV[at + 4])
  redis.call('ZREM', KEYS[2 * i], lease)
  if token_seconds > 0 or taken > 0 or request_seconds > 0 then
    local account = read(KEYS[2 * i - 1])
    account.r = account.r - request_seconds
    local more = tokens * token_seconds - reserved
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
