"""The outcome for a limited call: a grant, or the limit that refuses it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ai_gateway.limits.account import Account, Instant
from ai_gateway.limits.rates import Kind
from ai_gateway.limits.rules import LimitRule


class Counts(msgspec.Struct, frozen=True):
    """The rules for a call and, in the same order, their accounts at one time.

    `are_live`: the accounts are not copies and go on changing, on this gateway's clock.
    """

    rules: Sequence[LimitRule]
    accounts: Sequence[Account]
    instant: Instant
    are_live: bool = False


class Grant(Protocol):
    """What an admitted call has taken from its limits."""

    @property
    def counts(self) -> Counts:
        """The counts after the charge."""

    def settle(self, tokens: int) -> None:
        """The call has ended and used so many tokens. Only the first call counts. Never waits."""

    def take_back(self) -> None:
        """The call was not made, or will be admitted again: it does not count as a request. Never waits."""


class LimitExceeded(msgspec.Struct, frozen=True):
    """The limit that refuses a call, with the longest wait. Nothing was charged."""

    kind: Kind
    rule: LimitRule
    wait_seconds: float
    counts: Counts
