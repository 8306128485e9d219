"""Counts in the memory of this gateway. They end with the process."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final

from ai_gateway.limits.account import Account, Charge, Instant, charge, settle, shortage, take_back
from ai_gateway.limits.admission import Counts, LimitExceeded
from ai_gateway.limits.days import Days
from ai_gateway.limits.rates import Kind
from ai_gateway.limits.rules import LimitRule

MOST_ACCOUNTS: Final = 50_000
SWEEP_SECONDS: Final = 10.0
SWEEP_ACCOUNTS: Final = 1000  # per sweep: a fraction of a millisecond
CANDIDATES: Final = 16  # that it compares when it must drop one


class MemoryGrant:
    """See Grant."""

    __slots__ = ("_charges", "_now", "counts")

    def __init__(self, charges: list[Charge], counts: Counts, now: Callable[[], float]) -> None:
        self._charges = charges
        self._now = now
        self.counts = counts

    def settle(self, tokens: int) -> None:
        """See Grant."""
        charges, self._charges = self._charges, []
        if charges:
            now = self._now()
            for charged in charges:
                settle(charged, tokens, now)

    def take_back(self) -> None:
        """See Grant."""
        charges, self._charges = self._charges, []
        for charged in charges:
            take_back(charged, self._now())


class Memory:
    """The accounts of all scopes, the most recently used ones at the end. Calls change it.

    It sweeps idle accounts. If there are still too many, it drops the least recently used one without a running call.
    """

    def __init__(self, days: Days, most: int = MOST_ACCOUNTS) -> None:
        self._clock = days.instant
        self._now = days.clock
        self._most = most
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._accounts)

    def admit(self, rules: Sequence[LimitRule], tokens: int) -> MemoryGrant | LimitExceeded:
        """Charges a call of so many tokens to all of its rules, or to none."""
        instant = self._clock()
        if instant.now >= self._sweep_at:
            self._sweep(instant)
        exceeded, counts = self._check(rules, tokens, instant)
        if exceeded is not None:
            return exceeded
        pairs = zip(rules, counts.accounts, strict=True)
        charges = [charge(rule.rates, account, tokens, instant) for rule, account in pairs]
        return MemoryGrant(charges, counts, self._now)

    def preview(self, rules: Sequence[LimitRule], tokens: int) -> LimitExceeded | None:
        """The refusal that such a call would get now. Charges nothing."""
        return self._check(rules, tokens, self._clock())[0]

    def _check(self, rules: Sequence[LimitRule], tokens: int, instant: Instant) -> tuple[LimitExceeded | None, Counts]:
        found: tuple[Kind, float] | None = None
        refusing = None
        accounts = []
        for rule in rules:
            account = self._account(rule.scope, instant)
            accounts.append(account)
            short = shortage(rule.rates, account, tokens, instant)
            if short is not None and (found is None or short[1] > found[1]):
                found, refusing = short, rule
        counts = Counts(rules, accounts, instant, are_live=True)
        if found is not None and refusing is not None:
            return LimitExceeded(found[0], refusing, found[1], counts), counts
        return None, counts

    def seed(self, used: Mapping[str, int]) -> None:
        """Adds the tokens used today before startup, by scope (see `rules`)."""
        instant = self._clock()
        for scope, tokens in used.items():
            account = self._account(scope, instant)
            account.day_tokens = account.used(instant.today) + tokens
            account.day = instant.today

    def _account(self, scope: str, instant: Instant) -> Account:
        account = self._accounts.get(scope)
        if account is not None:
            self._accounts.move_to_end(scope)
            return account
        if len(self._accounts) >= self._most:
            self._drop_one(instant)
        account = self._accounts[scope] = Account()
        return account

    def _sweep(self, instant: Instant) -> None:
        """Sweeps some accounts, the least recently used ones first."""
        swept = list(islice(self._accounts.items(), SWEEP_ACCOUNTS))
        for scope, account in swept:
            if account.is_idle(instant):
                del self._accounts[scope]
            else:
                self._accounts.move_to_end(scope)
        is_all = len(swept) < SWEEP_ACCOUNTS
        self._sweep_at = instant.now + (SWEEP_SECONDS if is_all else SWEEP_SECONDS / 100)

    def _drop_one(self, instant: Instant) -> None:
        candidates = [
            (not account.is_idle(instant), number, scope)
            for number, (scope, account) in enumerate(islice(self._accounts.items(), CANDIDATES))
            if not account.running
        ]
        if candidates:
            del self._accounts[min(candidates)[2]]
