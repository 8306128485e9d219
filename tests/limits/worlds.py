"""Clocks that a test turns, and calls that it makes up."""

from collections.abc import Sequence

from ai_gateway.exchange import Allowance, Caller
from ai_gateway.limits.days import Days
from ai_gateway.limits.memory import Memory
from ai_gateway.limits.rates import rates
from ai_gateway.limits.rules import LimitRule, caller_scope

NOON = 20_000 * 86_400 + 43_200.0  # of some day, in Unix seconds


class Clocks:
    """A monotonic clock and a wall clock, both turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = NOON
        self.days = Days(lambda: self.wall, lambda: self.now)

    def go(self, seconds: float) -> None:
        """Time passes, as it does."""
        self.now += seconds
        self.wall += seconds

    def memory(self, most: int = 50_000) -> Memory:
        """Counts on these clocks."""
        return Memory(self.days, most)


def rule(name: str = "alice", gateways: int = 1, **limits: int) -> LimitRule:
    """What limits a caller."""
    return LimitRule("caller", name, caller_scope("keys", name), rates(Allowance(**limits), gateways))


def known(name: str, allowance: Allowance | None = None, tenant: str | None = None) -> Caller:
    """A caller that showed a key."""
    return Caller(name=name, method="keys", allowance=allowance, tenant=tenant, address="192.0.2.7")


def admitted(memory: Memory, rules: Sequence[LimitRule], tokens: int = 0, tries: int = 1) -> int:
    """How many of so many calls are admitted; each ends at once, with what it asked for."""
    count = 0
    for _ in range(tries):
        verdict = memory.admit(rules, tokens)
        if hasattr(verdict, "settle"):
            verdict.settle(tokens)
            count += 1
    return count
