"""Notices endpoints that share a disk though the config does not say so: what is made on one is on others at once."""

import logging
from collections import Counter
from collections.abc import Collection, Container
from typing import Final

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.reconcile.steps import Copy, Create, Step

log = logging.getLogger("ai_gateway.reconcile")

WITHIN_SECONDS: Final = 30.0  # the others have been listed by then
MOST: Final = 50  # names that are watched


class _Made(msgspec.Struct, frozen=True):
    at: float
    before: frozenset[Endpoint]  # where the name was already


class SharedVolume:
    """Changed by `made`, once this gateway has made a name, and by `look`."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Endpoint], _Made] = {}
        self.seen: set[frozenset[str]] = set()  # pairs of HOST:PORT

    def made(self, step: Step, endpoints: Collection[Endpoint], now: float) -> None:
        """A step went well."""
        if isinstance(step, Copy | Create):
            if len(self._made) >= MOST:
                del self._made[next(iter(self._made))]
            before = frozenset(one for one in endpoints if step.name in (one.held or ()))
            self._made[step.name, step.endpoint] = _Made(now, before | {step.endpoint})

    def look(self, endpoints: Collection[Endpoint], under_way: Container[Endpoint], now: float) -> None:
        """Finds names where nobody made them."""
        for place in [place for place, made in self._made.items() if now - made.at > WITHIN_SECONDS]:
            del self._made[place]
        makers = Counter(name for name, _ in self._made)
        for (name, maker), made in self._made.items():
            if makers[name] > 1:
                continue  # with whom of them another endpoint shares is not known
            for one in endpoints:
                if one not in made.before and one not in under_way and name in (one.held or ()):
                    self._report(frozenset((maker.address.authority, one.address.authority)))

    def _report(self, pair: frozenset[str]) -> None:
        if pair not in self.seen:
            self.seen.add(pair)
            log.warning("endpoints %s seem to share a volume: set reconcile.shared_store", " and ".join(sorted(pair)))

    def keep(self, there: Collection[Endpoint]) -> None:
        """Forgets endpoints that are gone."""
        if self.seen:
            names = {one.address.authority for one in there}
            self.seen = {pair for pair in self.seen if pair <= names}
