"""Which endpoint had a conversation last.

An endpoint that read the beginning of a conversation may still have it in memory, and then reads only what is new.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

MOST_KEYS: Final = 50_000  # some 12 MB
KEPT_SECONDS: Final = 600.0  # Ollama unloads a model that nobody uses after five minutes

E = TypeVar("E", bound=Hashable)


class _Home(Generic[E]):
    """An endpoint, until it is forgotten: all its keys share it, so that forgetting takes one step."""

    __slots__ = ("endpoint",)

    def __init__(self, endpoint: E) -> None:
        self.endpoint: E | None = endpoint


class Affinity(Generic[E]):
    """The endpoints of the latest conversations, by their keys. Changed by `remember` and `forget`.

    `clock` gives monotonic seconds. What was remembered first goes first, after ten minutes or when there is no room.
    """

    __slots__ = ("_clock", "_found", "_homes", "_most", "_seconds")

    def __init__(self, clock: Callable[[], float], most: int = MOST_KEYS, seconds: float = KEPT_SECONDS) -> None:
        self._clock = clock
        self._most = most
        self._seconds = seconds
        self._found: OrderedDict[bytes, tuple[_Home[E], float]] = OrderedDict()  # with the moment of its end
        self._homes: dict[E, _Home[E]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<Affinity of {len(self._found)} conversations to {len(self._homes)} endpoints>"

    def find(self, keys: Iterable[bytes]) -> E | None:
        """The endpoint of the first key that is known. Give the longest part of a conversation first."""
        found = self._found
        for key in keys:
            entry = found.get(key)
            if entry is not None:
                home, due = entry
                if home.endpoint is not None and self._clock() < due:
                    return home.endpoint
        return None

    def remember(self, key: bytes, endpoint: E) -> None:
        """The conversation with this key is at this endpoint now."""
        found, now = self._found, self._clock()
        home = self._homes.get(endpoint)
        if home is None:
            home = self._homes[endpoint] = _Home(endpoint)
        found[key] = (home, now + self._seconds)
        found.move_to_end(key)
        for _ in range(2):  # one comes, two may go: so the old ones go without a step that takes long
            _, due = next(iter(found.values()))
            if due > now and len(found) <= self._most:
                return
            found.popitem(last=False)

    def forget(self, endpoint: E) -> None:
        """The endpoint has lost what it had in memory, or is gone."""
        home = self._homes.pop(endpoint, None)
        if home is not None:
            home.endpoint = None
