"""One Ollama as the balancer sees it: its models, its running calls, and when it is ejected for its failures."""

import random
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

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


class HeldModel(msgspec.Struct, frozen=True):
    """A model on an endpoint's disk, as /api/tags lists it. `modified` is Unix seconds, `size` bytes."""

    name: str
    digest: str
    size: int
    modified: int
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    is_remote: bool = False


class Pod(msgspec.Struct, frozen=True):
    """Facts about an Ollama pod from Kubernetes. None if one is not set or not readable.

    The numbers are those of `OLLAMA_NUM_PARALLEL`, `OLLAMA_MAX_LOADED_MODELS` and `OLLAMA_CONTEXT_LENGTH` in its spec.
    """

    name: str
    namespace: str
    node: str | None = None
    zone: str | None = None
    labels: Mapping[str, str] = {}
    num_parallel: int | None = None
    max_loaded_models: int | None = None
    context_length: int | None = None


class _Loaded(NamedTuple):
    """The digests of loaded models, with the two lists that they come from."""

    held: dict[str, HeldModel] | None
    resident: frozenset[str] | None
    digests: frozenset[str]


class Endpoint:
    """Changed only by the fleet (polls, failures, leases); single-threaded, always between awaits."""

    __slots__ = (
        "_loaded",
        "_model_health",
        "_random",
        "address",
        "check_reasons",
        "contexts",
        "health",
        "held",
        "in_flight",
        "is_deleted",
        "is_draining",
        "is_reachable",
        "last_resident",
        "missing",
        "pod",
        "reason",
        "resident",
        "seen_at",
        "total_attempts",
        "total_failures",
        "total_in_flight",
        "total_loads",
        "total_unloads",
        "version",
    )  # fmt: skip

    def __init__(self, address: Address, rng: random.Random) -> None:
        self.address = address
        self.pod: Pod | None = None
        self._random = rng
        self.health = EjectionState(rng)
        self._model_health: dict[str, EjectionState] = {}
        self._loaded: _Loaded | None = None
        self.held: dict[str, HeldModel] | None = None  # by Ollama's name; None: not known
        self.resident: frozenset[str] | None = None  # Ollama's names; None: not known
        self.last_resident: frozenset[str] | None = None  # the last known value of `resident`
        self.contexts: dict[str, int] = {}  # tokens, of loaded models, if Ollama sends them
        self.missing: set[str] = set()  # names that got a 404 since the last list of models
        self.in_flight: dict[str, int] = {}
        self.total_in_flight = 0
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

    def holds(self, model: str) -> bool | None:
        """Whether it has a model (by Ollama's name) on disk; None if that is not known."""
        if model in self.missing:
            return False
        return None if self.held is None else model in self.held

    def is_resident(self, model: str) -> bool:
        """Whether the model is loaded there, under this name or under another one with the same digest."""
        if self.resident is None:
            return False
        if model in self.resident:
            return True
        mine = (self.held or {}).get(model)
        return mine is not None and mine.digest in self._loaded_digests()

    def _loaded_digests(self) -> frozenset[str]:
        """Digests of the loaded models; cached for each pair of lists, since metrics need it for every model."""
        held, resident = self.held or {}, self.resident or frozenset()
        loaded = self._loaded
        if loaded is None or loaded.held is not self.held or loaded.resident is not self.resident:
            digests = frozenset(held[name].digest for name in resident if name in held) - {""}
            loaded = self._loaded = _Loaded(self.held, self.resident, digests)
        return loaded.digests

    def model_health(self, model: str) -> EjectionState:
        """The health of one model on this endpoint; 5xx answers count there and not against all of it."""
        health = self._model_health.get(model)
        if health is None:
            health = self._model_health[model] = EjectionState(self._random)
        return health

    def succeed(self, model: str) -> bool:
        """Notes a successful call for a model; True if it readmits the model here."""
        health = self._model_health.get(model)
        return health is not None and health.succeed()

    def forget_models(self) -> None:
        """Drops the health of models that it no longer holds, so that changing names do not add up."""
        gone = [name for name in self._model_health if name not in (self.held or {}) and name not in self.in_flight]
        for name in gone:
            del self._model_health[name]

    def slots(self, general: int, own: int | None) -> int:
        """How many calls of a model may run here: the pod's OLLAMA_NUM_PARALLEL, but at most the model's `own`.

        `general` is the config's value for endpoints without OLLAMA_NUM_PARALLEL.
        """
        parallel = self.pod.num_parallel if self.pod is not None else None
        if parallel is None:
            return own or general
        return parallel if own is None else min(parallel, own)

    def takes(self, model: str, slots: int, now: float) -> bool:
        """Whether a call for this model may start here now: a slot is free, and it has not failed too often.

        After its ejection a model gets one call at a time until one succeeds.
        """
        in_flight = self.in_flight.get(model, 0)
        health = self._model_health.get(model)
        if health is None or health.ejected_until is None:
            return in_flight < slots
        return in_flight == 0 and health.is_on_probation(now)

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
