"""The retry budget: retries are a share of the running calls, so that they do not overload a failing fleet."""

from math import ceil

FLOOR = 3


class RetryBudget:
    """Counts running calls and retries. Changed by the request path, which returns what it takes."""

    __slots__ = ("active", "retries", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self.active = 0
        self.retries = 0

    @property
    def left(self) -> int:
        """How many retries may begin now."""
        return max(0, ceil(max(FLOOR, self.share * self.active)) - self.retries)

    def take(self) -> bool:
        """Takes one retry if the budget has one (give it back by `retries -= 1`)."""
        if not self.left:
            return False
        self.retries += 1
        return True
