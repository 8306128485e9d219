"""What is done again and again, each when it is due."""

from collections.abc import Callable, Mapping


class Duties:
    """Things to do by the moment when each is due, on a monotonic clock; each says itself when it is due again."""

    def __init__(self) -> None:
        self._due: dict[Callable[[], None], float] = {}

    def begin(self, now: float, after: Mapping[Callable[[], None], float]) -> None:
        """These, each after so many seconds for the first time."""
        self._due = {duty: now + seconds for duty, seconds in after.items()}

    def again(self, duty: Callable[[], None], at: float) -> None:
        """When it is due next."""
        self._due[duty] = at

    def sooner(self, duty: Callable[[], None], at: float) -> None:
        """That it is due by then; never later than it was."""
        self._due[duty] = min(self._due.get(duty, at), at)

    def next_at(self) -> float:
        """When the first one is due."""
        return min(self._due.values())

    def do(self, now: Callable[[], float]) -> None:
        """Those that are due."""
        for duty, due in tuple(self._due.items()):
            if now() >= due:
                duty()
