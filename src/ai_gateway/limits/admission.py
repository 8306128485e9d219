"""What becomes of a call that limits hold for: it is admitted, with what it holds, or refused, with why."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ai_gateway.limits.account import Account, Instant
from ai_gateway.limits.rates import Kind
from ai_gateway.limits.rules import LimitRule


class Counts(msgspec.Struct, frozen=True):
    """The terms of a call and, in the same order, what was used of each at one moment.

    `are_live`: the accounts are those that go on to change, on this gateway's clock.
    """

    rules: Sequence[LimitRule]
    accounts: Sequence[Account]
    instant: Instant
    are_live: bool = False


class Grant(Protocol):
    """What an admitted call holds."""

    @property
    def counts(self) -> Counts:
        """After it was charged."""

    def settle(self, tokens: int) -> None:
        """The call is over and used so many tokens; counts once. Never waits."""

    def take_back(self) -> None:
        """The call was not made, or is admitted anew: it counts as no request. Never waits."""


class LimitExceeded(msgspec.Struct, frozen=True):
    """Why a call is not admitted: the limit with the longest wait. Nothing was charged."""

    kind: Kind
    rule: LimitRule
    wait_seconds: float
    counts: Counts
