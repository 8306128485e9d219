"""The retry budget: retries are a share of the calls under way, so a failing fleet is not beaten further."""

FLOOR = 3


class RetryBudget:
    """Counts calls and retries under way. Changed by the request path, which gives back what it takes."""

    __slots__ = ("active", "retries", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self.active = 0
        self.retries = 0

    def take(self) -> bool:
        """Takes one retry if the budget has one (give it back by `retries -= 1`)."""
        if self.retries >= max(FLOOR, self.share * self.active):
            return False
        self.retries += 1
        return True
