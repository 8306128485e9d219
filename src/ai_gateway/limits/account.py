"""What one scope has used, and the arithmetic that admits, charges and settles calls.

Rates per minute use the generic cell rate algorithm (ITU-T I.371). Each limit has one time: all admitted calls have
drained by then. A call is admitted if that time stays within a minute from now. So the burst equals the limit, and the
rate is exact. Times are seconds on a monotonic clock.
"""

from typing import Final, NamedTuple

import msgspec

from ai_gateway.limits.rates import MINUTE_SECONDS, Kind, Rates

# Tolerance for sums of floats: far below what one call of the highest limit takes of its minute.
SLACK_SECONDS: Final = 1e-6
# Wait of a call refused for concurrency: it is unknown when a running call will end.
CONCURRENT_SECONDS: Final = 1.0


class Instant(NamedTuple):
    """The time of a count: monotonic seconds, the number of the UTC day, and the seconds left of it."""

    now: float
    today: int
    day_left: float


class Account:
    """The counts of one scope. Only `charge`, `settle` and `take_back` change them."""

    __slots__ = ("day", "day_tokens", "requests_until", "running", "tokens_until")

    def __init__(self) -> None:
        self.requests_until = 0.0
        self.tokens_until = 0.0
        self.running = 0
        self.day = 0
        self.day_tokens = 0  # used on that day

    def __repr__(self) -> str:
        return f"<Account: {self.running} running, {self.day_tokens} tokens on day {self.day}>"

    def used(self, today: int) -> int:
        """Tokens used on this day."""
        return self.day_tokens if self.day == today else 0

    def is_idle(self, instant: Instant) -> bool:
        """Whether it equals a new account."""
        latest = max(self.requests_until, self.tokens_until)
        return latest <= instant.now and not self.running and not self.used(instant.today)


class Charge(msgspec.Struct, frozen=True):
    """What one call has taken from one account: seconds of the minute for its tokens, and tokens of a day.

    `token_seconds` and `day` are 0 without such a limit.
    """

    account: Account
    token_seconds: float
    charged_seconds: float
    day: int
    day_tokens: int
    request_seconds: float = 0.0


def shortage(rates: Rates, account: Account, tokens: int, instant: Instant) -> tuple[Kind, float] | None:
    """The limit that refuses a call of so many tokens now, and the seconds to wait. Of several, the longest wait.

    A call of more tokens than the whole limit is admitted once the whole limit is free.
    """
    now = instant.now
    kind: Kind | None = None
    wait = SLACK_SECONDS
    if rates.request_seconds:
        busy = account.requests_until - now
        late = (busy if busy > 0 else 0.0) + rates.request_seconds - MINUTE_SECONDS
        if late > wait:
            kind, wait = "rpm", late
    if rates.token_seconds:
        busy = account.tokens_until - now
        cost = tokens * rates.token_seconds
        late = (busy if busy > 0 else 0.0) + (cost if cost < MINUTE_SECONDS else MINUTE_SECONDS) - MINUTE_SECONDS
        if late > wait:
            kind, wait = "tpm", late
    if rates.concurrent and account.running >= rates.concurrent and wait < CONCURRENT_SECONDS:
        kind, wait = "concurrent", CONCURRENT_SECONDS
    day_tokens = rates.day_tokens
    if day_tokens and account.used(instant.today) + min(tokens, day_tokens) > day_tokens and instant.day_left > wait:
        kind, wait = "tokens_per_day", instant.day_left
    return None if kind is None else (kind, wait)


def charge(rates: Rates, account: Account, tokens: int, instant: Instant) -> Charge:
    """Charges an admitted call to the account."""
    now = instant.now
    account.running += 1
    if rates.request_seconds:
        until = account.requests_until
        account.requests_until = (until if until > now else now) + rates.request_seconds
    charged_seconds = tokens * rates.token_seconds
    if charged_seconds:
        charged_seconds = min(charged_seconds, MINUTE_SECONDS)
        until = account.tokens_until
        account.tokens_until = (until if until > now else now) + charged_seconds
    day = day_tokens = 0
    if rates.day_tokens:
        day, day_tokens = instant.today, min(tokens, rates.day_tokens)
        account.day_tokens = account.used(day) + day_tokens
        account.day = day
    return Charge(account, rates.token_seconds, charged_seconds, day, day_tokens, rates.request_seconds)


def settle(charged: Charge, tokens: int, now: float) -> None:
    """Gives back what a call did not use, or takes what it used in excess. Debts drain at the limit's rate.

    Tokens count for the day on which their call was admitted.
    """
    account = charged.account
    account.running -= 1
    if charged.token_seconds:
        more = tokens * charged.token_seconds - charged.charged_seconds
        account.tokens_until = (max(account.tokens_until, now) if more > 0 else account.tokens_until) + more
    if charged.day and account.day == charged.day:
        account.day_tokens += tokens - charged.day_tokens


def take_back(charged: Charge, now: float) -> None:
    """Gives back all that a call took, its request included."""
    settle(charged, 0, now)
    charged.account.requests_until -= charged.request_seconds
