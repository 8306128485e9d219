"""One Ollama as the balancer sees it: its models, its running calls, and when it is ejected for its failures."""

import random
from collections.abc import Mapping
from typing import Literal

from ai_gateway.balancing.naming import Naming
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.rendezvous import number_of
from ai_gateway.balancing.residency import Residency
from ai_gateway.balancing.resident import HeldModel, Weights
from ai_gateway.balancing.single_slot import is_single
from ai_gateway.wire.address import Address

THRESHOLD = 5
FIRST_EJECTION_SECONDS = 5.0
LONGEST_EJECTION_SECONDS = 60.0
JITTER = 0.2


class EjectionState:
    """Failures in a row of one thing (an endpoint, or one model on it). Changed by the endpoint that owns it.

    `threshold` failures in a row eject it, 5 s at first, then longer each time until it succeeds, up to 60 s,
    each +-20 % so that several gateways do not try it at once. After that time it is on probation:
    one success readmits it, one failure ejects it again.
    """

    __slots__ = ("_ejections", "_random", "ejected_until", "failures", "threshold")

    def __init__(self, rng: random.Random, threshold: int = THRESHOLD) -> None:
        self._random = rng
        self._ejections = 0
        self.threshold = threshold
        self.failures = 0
        self.ejected_until: float | None = None

    @property
    def is_ejected(self) -> bool:
        """Whether it gets no calls until a success readmits it (`is_on_probation` says when to try)."""
        return self.ejected_until is not None

    def is_on_probation(self, now: float) -> bool:
        """Whether its ejection is over, so that one attempt may test it."""
        return self.ejected_until is not None and now >= self.ejected_until

    def succeed(self) -> bool:
        """Notes a success; True if that readmits it."""
        was_ejected = self.ejected_until is not None
        self.failures = self._ejections = 0
        self.ejected_until = None
        return was_ejected

    def readmit(self) -> None:
        """Ends the ejection; without a success in between, the next ejection is longer."""
        self.failures = 0
        self.ejected_until = None

    def fail(self, now: float, may_eject: bool) -> bool:
        """Notes a failure; True if that ejects it."""
        self.failures += 1
        on_probation = self.is_on_probation(now)
        if self.is_ejected and not on_probation:
            return False
        if not on_probation and (self.failures < self.threshold or not may_eject):
            return False
        self._ejections += 1
        seconds = min(FIRST_EJECTION_SECONDS * self._ejections, LONGEST_EJECTION_SECONDS)
        self.ejected_until = now + seconds * self._random.uniform(1 - JITTER, 1 + JITTER)
        return True


State = Literal["unknown", "up", "down", "ejected", "draining"]


class Endpoint:
    """Changed only by the fleet (polls, failures, leases, loads); single-threaded, always between awaits."""

    __slots__ = (
        "_model_health",
        "_random",
        "address",
        "check_reasons",
        "ended_at",
        "foreign_at",
        "full_bytes",
        "full_until",
        "health",
        "in_flight",
        "is_deleted",
        "is_draining",
        "is_reachable",
        "last_resident",
        "missing",
        "number",
        "peers",
        "pod",
        "reason",
        "reserved",
        "residency",
        "seen_at",
        "speed",
        "total_attempts",
        "total_failures",
        "total_in_flight",
        "total_loads",
        "total_peers",
        "total_unloads",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        address: Address,
        rng: random.Random,
        weights: Mapping[str, Weights] | None = None,
        naming: Naming | None = None,
    ) -> None:
        self.address = address
        self.number = number_of(address.authority)
        self.pod: Pod | None = None
        self._random = rng
        self.health = EjectionState(rng)
        self._model_health: dict[str, EjectionState] = {}
        self.residency = Residency({} if weights is None else weights, naming)
        self.last_resident: frozenset[str] | None = None  # the last known names of loaded models
        self.missing: set[str] = set()  # names that got a 404 since the last list of models
        self.in_flight: dict[str, int] = {}  # calls of this gateway, by Ollama's name
        self.total_in_flight = 0
        self.peers: dict[str, int] = {}  # calls of the other gateways, as they report them
        self.total_peers = 0
        self.ended_at: dict[str, float] = {}  # by name: when its last call ended
        self.reserved: str | None = None  # the runner that must make room for a load: it gets nothing more
        self.foreign_at: float | None = None  # when calls were seen that no report explains
        self.speed = 1.0  # learned; 1 is the mean of the fleet
        self.full_bytes: int | None = None  # learned: all that fits, since Ollama evicted a runner for more
        self.full_until = 0.0
        self.total_attempts = 0
        self.total_failures = 0
        self.total_loads = 0
        self.total_unloads = 0
        self.is_draining = False
        self.is_deleted = False  # it drains for good: a pod whose container crashed is only not ready
        self.is_reachable: bool | None = None  # None: not probed yet
        self.version: str | None = None
        self.reason: str | None = None
        self.check_reasons: dict[str, str] = {}  # by path: why the last poll there failed, or was incomplete
        self.seen_at: float | None = None

    def __repr__(self) -> str:
        return f"<Endpoint {self.address.authority} {self.state}, {self.total_in_flight} in flight>"

    @property
    def state(self) -> State:
        """The state in one word, for health and logs."""
        if self.is_draining:
            return "draining"
        if self.is_reachable is False:
            return "down"
        if self.health.is_ejected:
            return "ejected"
        return "up" if self.is_reachable else "unknown"

    @property
    def is_usable(self) -> bool:
        """Whether the endpoint may get calls at all."""
        return not self.is_draining and self.is_reachable is not False and self.health.ejected_until is None

    @property
    def held(self) -> dict[str, HeldModel] | None:
        """The models on its disk by Ollama's name; None: not known."""
        return self.residency.held

    @property
    def resident(self) -> frozenset[str] | None:
        """Ollama's names of the loaded models, as /api/ps lists them; None: not known."""
        return self.residency.names

    def holds(self, model: str) -> bool | None:
        """Whether it has a model on disk; None if that is not known. A made name that is loaded is there, too."""
        name = self.residency.name_for(model)
        if name in self.missing:
            return False
        held = self.residency.held
        if name is not model:
            return True
        return None if held is None else name in held

    def held_model(self, model: str) -> HeldModel | None:
        """The model as it is on the disk, if it is."""
        return (self.residency.held or {}).get(self.residency.name_for(model))

    def is_resident(self, model: str) -> bool:
        """Whether a call for the model would find its runner loaded there, under whatever name."""
        return self.residency.is_resident(model)

    def is_reserved(self, model: str) -> bool:
        """Whether the model's runner is about to be unloaded, so that another one has room."""
        return self.reserved is not None and self.residency.key_of(model) == self.reserved

    def context_of(self, model: str) -> int | None:
        """Tokens of context of the model's runner, if it is loaded and Ollama tells."""
        found = self.residency.find(model)
        return None if found is None else found.entry.context_length

    def model_health(self, model: str) -> EjectionState:
        """The health of one model on this endpoint; 5xx answers count there and not against all of it."""
        health = self._model_health.get(model)
        if health is None:
            health = self._model_health[model] = EjectionState(self._random)
        return health

    def has_failures(self, model: str) -> bool:
        """Whether the model failed here, lately or before its last success."""
        return model in self._model_health

    def succeed(self, model: str) -> bool:
        """Notes a successful call for a model; True if it readmits the model here."""
        health = self._model_health.get(model)
        return health is not None and health.succeed()

    def forget_models(self) -> None:
        """Drops what is known of models that it no longer holds, so that changing names do not add up."""
        for known in (self._model_health, self.ended_at):
            for name in [name for name in known if not self.holds(name) and name not in self.in_flight]:
                del known[name]

    def slots(self, model: str, general: int, own: int | None) -> int:
        """How many calls of a model may run here: the pod's OLLAMA_NUM_PARALLEL, but at most the model's `own`.

        `general` is the config's value for endpoints without OLLAMA_NUM_PARALLEL. Where the config says nothing of
        the model, those that Ollama runs one call of at a time have one slot.
        """
        parallel = self.pod.num_parallel if self.pod is not None else None
        held = self.held_model(model)
        if own is None and held is not None and is_single(held.family, self.version, held.is_embedding):
            return 1
        if parallel is None:
            return own or general
        return parallel if own is None else min(parallel, own)

    def busy(self, model: str) -> int:
        """How many calls run on the model's runner here, of all gateways, and of all names that share it."""
        return self.busy_on(self.residency.key_of(model))

    def is_mixed(self, name: str) -> bool:
        """Whether calls run under another name on the runner of this one."""
        key_of, key = self.residency.key_of, self.residency.key_of(name)
        return any(other != name and key_of(other) == key for other in (*self.in_flight, *self.peers))

    def own_busy(self, model: str) -> int:
        """Those of them that are this gateway's."""
        key_of, key = self.residency.key_of, self.residency.key_of(model)
        return sum(count for name, count in self.in_flight.items() if key_of(name) == key)

    def busy_on(self, key: str) -> int:
        """The same for a runner by its key."""
        key_of = self.residency.key_of
        counts = (*self.in_flight.items(), *self.peers.items())
        return sum(count for model, count in counts if key_of(model) == key)

    def ended_on(self, key: str) -> float:
        """When the last call of this gateway on a runner ended, 0.0 if there was none."""
        key_of = self.residency.key_of
        return max((at for model, at in self.ended_at.items() if key_of(model) == key), default=0.0)

    def takes(self, model: str, slots: int, now: float) -> bool:
        """Whether a call for this model may start here now: a slot is free, and it has not failed too often.

        After its ejection a model gets one call at a time until one succeeds.
        """
        busy = self.busy(model)
        health = self._model_health.get(model)
        if health is None or health.ejected_until is None:
            return busy < slots
        return busy == 0 and health.is_on_probation(now)

    def count_changes(self) -> None:
        """Counts loads and unloads since the last list of residents."""
        before, names = self.last_resident, self.residency.names or frozenset()
        if before is not None:
            self.total_loads += len(names - before)
            self.total_unloads += len(before - names)
        self.last_resident = names

    def take_slot(self, model: str) -> None:
        """Counts a call in."""
        self.in_flight[model] = self.in_flight.get(model, 0) + 1
        self.total_in_flight += 1

    def give_slot_back(self, model: str) -> None:
        """Counts a call out."""
        self.total_in_flight -= 1
        self.in_flight[model] -= 1
        if not self.in_flight[model]:
            del self.in_flight[model]
