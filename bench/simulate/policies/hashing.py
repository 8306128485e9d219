"""Consistent hashing with bounded loads, as KubeAI does it: a key's place on a ring of pods, and on from there.

Source: KubeAI, internal/loadbalancer/balance_chwbl.go: 256 places on the ring for each pod; a pod takes a call if its
load with it is at most 1.25 times the mean; if none does, the first pod of the walk takes it.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from bench.simulate.contract import Call, Outside
from bench.simulate.policies.early import Early

REPLICAS: Final = 256
LOAD_FACTOR: Final = 1.25


class BoundedHash(Early):
    """The frame: each has its own `key`."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(outside)
        places = [(place(f"{pod.number}/{copy}"), pod.number) for pod in outside.pods for copy in range(REPLICAS)]
        self._ring = sorted(places)
        self._walks: dict[int, tuple[int, ...]] = {}  # by the place in the ring where a walk begins

    def key(self, call: Call) -> str:
        """What calls have in common that shall meet on a pod."""
        raise NotImplementedError

    def pick(self, call: Call, pods: Sequence[int]) -> int:
        """See Early."""
        walk = [pod for pod in self._walk(bisect_left(self._ring, (place(self.key(call)), -1))) if pod in pods]
        total = sum(self.in_flight[pod] for pod in pods)
        bound = LOAD_FACTOR * (total + 1) / len(pods)
        return next((pod for pod in walk if total == 0 or self.in_flight[pod] + 1 <= bound), walk[0])

    def _walk(self, start: int) -> tuple[int, ...]:
        """All pods in the order of a walk."""
        if start not in self._walks:
            ring = self._ring[start:] + self._ring[:start]
            self._walks[start] = tuple(dict.fromkeys(pod for _, pod in ring))
        return self._walks[start]


class HashByPrefix(BoundedHash):
    """Calls of a conversation meet."""

    def key(self, call: Call) -> str:
        """See BoundedHash."""
        return f"{call.model.name}/{call.conversation}"


class HashByModel(BoundedHash):
    """Calls of a model meet."""

    def key(self, call: Call) -> str:
        """See BoundedHash."""
        return call.model.name


def place(text: str) -> int:
    """A place on the ring."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
