"""What one scope has used, and the rules by which a call is admitted, charged and settled: plain arithmetic.

Rates per minute are counted by the generic cell rate algorithm (ITU-T I.371): one moment per limit, until which all
that was admitted takes to drain. A call is admitted if that moment stays within a minute from now: so the burst is
the limit, and the rate is exact. Moments are seconds on a clock that never jumps.
"""

from typing import Final, NamedTuple

import msgspec

from ai_gateway.limits.rates import MINUTE_SECONDS, Kind, Rates

# Of the sums of floats that are compared: far below what one call of the highest limit takes of its minute.
SLACK_SECONDS: Final = 1e-6
# Nobody knows when a call ends: how long a refused one is asked to wait.
CONCURRENT_SECONDS: Final = 1.0


class Instant(NamedTuple):
    """When something is counted: monotonic seconds, the UTC day by its number, and the seconds left of it."""

    now: float
    today: int
    day_left: float


class Account:
    """The counts of one scope. Changed by `charge`, `settle` and `take_back` alone."""

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
        """Tokens of this day."""
        return self.day_tokens if self.day == today else 0

    def is_idle(self, instant: Instant) -> bool:
        """Whether a new account would say the same."""
        latest = max(self.requests_until, self.tokens_until)
        return latest <= instant.now and not self.running and not self.used(instant.today)


class Charge(msgspec.Struct, frozen=True):
    """What one call has taken of one account: seconds of the minute for its tokens, and tokens of a day.

    `token_seconds` and `day` are 0 where there is no such limit.
    """

    account: Account
    token_seconds: float
    reserved_seconds: float
    day: int
    day_tokens: int
    request_seconds: float = 0.0


def shortage(rates: Rates, account: Account, tokens: int, instant: Instant) -> tuple[Kind, float] | None:
    """The limit that does not admit a call of so many tokens now, and how many seconds to wait; the longest wait.

    A call that asks for more than a whole limit is admitted when all of it is there.
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
    """Takes what an admitted call needs."""
    now = instant.now
    account.running += 1
    if rates.request_seconds:
        until = account.requests_until
        account.requests_until = (until if until > now else now) + rates.request_seconds
    reserved_seconds = tokens * rates.token_seconds
    if reserved_seconds:
        reserved_seconds = min(reserved_seconds, MINUTE_SECONDS)
        until = account.tokens_until
        account.tokens_until = (until if until > now else now) + reserved_seconds
    day = day_tokens = 0
    if rates.day_tokens:
        day, day_tokens = instant.today, min(tokens, rates.day_tokens)
        account.day_tokens = account.used(day) + day_tokens
        account.day = day
    return Charge(account, rates.token_seconds, reserved_seconds, day, day_tokens, rates.request_seconds)


def settle(hold: Charge, tokens: int, now: float) -> None:
    """Gives back what a call did not use, or takes what it used beyond: debts are paid off at the limit's rate.

    Tokens belong to the day on which their call was admitted.
    """
    account = hold.account
    account.running -= 1
    if hold.token_seconds:
        more = tokens * hold.token_seconds - hold.reserved_seconds
        account.tokens_until = (max(account.tokens_until, now) if more > 0 else account.tokens_until) + more
    if hold.day and account.day == hold.day:
        account.day_tokens += tokens - hold.day_tokens


def take_back(hold: Charge, now: float) -> None:
    """Gives back all that a call took, that it was a request as well."""
    settle(hold, 0, now)
    hold.account.requests_until -= hold.request_seconds
