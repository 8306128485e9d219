"""The retry budget: retries are a share of the running calls, so that they do not overload a failing fleet."""

from math import ceil
from types import TracebackType

FLOOR = 3


class RetryBudget:
    """Counts running calls and retries. `with budget:` encloses a call, `with budget.take() as retry:` a retry."""

    __slots__ = ("active", "retries", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self.active = 0
        self.retries = 0

    def __enter__(self) -> None:
        self.active += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active -= 1

    @property
    def left(self) -> int:
        """How many retries may begin now."""
        return max(0, ceil(max(FLOOR, self.share * self.active)) - self.retries)

    def take(self) -> "Retry | None":
        """A retry, if the budget has one."""
        return Retry(self) if self.left else None


class Retry:
    """One retry under way. It is over when its block is left, or before that by `end`; without a budget it is free."""

    __slots__ = ("_budget",)

    def __init__(self, budget: RetryBudget | None = None) -> None:
        self._budget = budget
        if budget is not None:
            budget.retries += 1

    def __enter__(self) -> "Retry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Gives it back; may be called again."""
        if self._budget is not None:
            self._budget.retries -= 1
            self._budget = None
