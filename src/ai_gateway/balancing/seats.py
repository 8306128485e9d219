"""Where the calls of one model may be bound: endpoints and their slots."""

from collections.abc import Callable, Collection
from typing import Final, Protocol

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.stopwatch import Phase
from ai_gateway.wire.made_names import is_ours

NOWHERE: Final[frozenset[Endpoint]] = frozenset()


class Surroundings(Protocol):
    """What seats need of a fleet. `epoch` changes whenever the answer to `who can serve this` may."""

    epoch: int

    def everyone(self) -> Collection[Endpoint]:
        """All endpoints."""


class Seats:
    """The endpoints that calls of `model` may be bound to. Changed by its pool; found anew for each epoch.

    `able` has them with or without a free slot, `slots` the number of slots of each. If `is_open`, nobody knows what
    is loaded, and all that hold the model are able.
    """

    __slots__ = (
        "_are_shared",
        "_around",
        "_clock",
        "_epoch",
        "able",
        "is_open",
        "model",
        "names",
        "phase",
        "slots",
    )

    def __init__(self, model: str, around: Surroundings, clock: Callable[[], float]) -> None:
        self.model = model
        self.able: list[Endpoint] = []
        self.slots: list[int] = []
        self.is_open = False
        self.names: list[str] = []  # Ollama's of the model, on each
        self._are_shared: list[bool] = []  # whether another name has the same runner there
        self._around = around
        self._clock = clock
        self._epoch = -1
        self.phase: Phase = "absent"

    def holders(self, avoid: frozenset[Endpoint] = NOWHERE) -> list[Endpoint]:
        """Usable endpoints that hold the model; if none surely does, those that may hold it."""
        sure: list[Endpoint] = []
        unsure: list[Endpoint] = []
        for endpoint in self._around.everyone():
            if endpoint.is_usable and endpoint not in avoid:
                holds = endpoint.holds(self.model)
                if holds is not False:
                    (sure if holds else unsure).append(endpoint)
        return sure or ([] if is_ours(self.model) else unsure)  # no endpoint is asked for a name that it did not list

    @property
    def is_stale(self) -> bool:
        """Whether something has changed since `refresh`."""
        return self._epoch != self._around.epoch

    def refresh(self, binds_late: bool, slots_of: Callable[[Endpoint], int]) -> None:
        """Finds them anew."""
        self._epoch = self._around.epoch
        holders = self.holders()
        self.able, self.is_open = self._find(binds_late, holders)
        self.slots = [slots_of(endpoint) for endpoint in self.able]
        self.names = [endpoint.residency.name_for(self.model) for endpoint in self.able]
        self._are_shared = [
            one.residency.sharers(self.model) is not None or one.is_mixed(name)
            for one, name in zip(self.able, self.names, strict=True)
        ]
        self.phase = "warm" if self.able else "cold" if holders else "absent"

    def _find(self, binds_late: bool, holders: list[Endpoint]) -> tuple[list[Endpoint], bool]:
        holders = [one for one in holders if not one.is_reserved(self.model)]
        if not binds_late:
            return holders, False
        able = [one for one in holders if one.is_resident(self.model)]
        if not able and holders and all(one.residency.loaded is None and not one.residency.is_due for one in holders):
            return holders, True
        return able, False

    def free(self) -> list[Endpoint]:
        """Those with a free slot. In most of a busy fleet none is free, so that is found out first."""
        model, now = self.model, self._clock()
        return [
            endpoint
            for endpoint, name, slots, is_shared in zip(
                self.able, self.names, self.slots, self._are_shared, strict=True
            )
            if (is_shared or endpoint.in_flight.get(name, 0) + endpoint.peers.get(name, 0) < slots)
            and (not (is_shared or endpoint.has_failures(model)) or endpoint.takes(model, slots, now))
        ]
