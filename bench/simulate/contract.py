"""What a policy under simulation is told, and what it can do: one object of it per gateway, driven by events.

A policy knows only what its gateway knows: its own calls, `/api/ps` of each pod as of the last poll, and what the other
gateways report. It never waits; whatever takes time comes back as another event.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["answered", "failed", "left", "refused"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that every pod has on disk. `own_slots` is what Ollama forces on its runners, if anything."""

    name: str
    digest: str
    size_bytes: int
    own_slots: int | None = None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What Kubernetes tells about a pod: OLLAMA_NUM_PARALLEL and OLLAMA_MAX_LOADED_MODELS. Its speed it does not."""

    number: int  # also its index in `Outside.pods`
    slots: int
    places: int


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call as a gateway reads it. `conversation` is what it would hash of the first messages."""

    number: int
    model: Model
    conversation: int
    caller: str
    prompt_tokens: int
    arrived_at: float


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a pod's `/api/ps`. `expires_at` is simulated time; it may have passed while the runner is busy."""

    name: str
    digest: str
    size_bytes: int
    expires_at: float
    context_length: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a sent call ended, with what the gateway saw of it; `first_at` is the first byte, if there was one.

    "failed": the pod broke before it was whole; the policy may `send` it again, else it stays without an answer.
    "left": the client left.
    """

    outcome: Outcome
    sent_at: float
    first_at: float | None
    prompt_tokens: int
    answer_tokens: int


class Outside(Protocol):
    """What a policy asks of its gateway. Times are seconds of the simulation."""

    number: int  # of this gateway, from 0
    gateways: int  # how many there are
    rng: random.Random  # the policy's own; breaks ties

    @property
    def now(self) -> float:
        """The time."""

    @property
    def pods(self) -> Sequence[PodFacts]:
        """All pods, in the order of their numbers."""

    @property
    def models(self) -> Sequence[Model]:
        """All models that may be called; every pod has them on disk."""

    def call_at(self, time: float, action: Callable[[], None]) -> None:
        """Runs `action` at a time: the policy's timers."""

    def send(self, call: Call, pod: int) -> None:
        """Sends a call to a pod, which queues it if it has to; it ends with `ended`."""

    def refuse(self, call: Call) -> None:
        """Answers a call that is at no pod with an error; its client leaves, and nothing is told of it any more."""

    def preload(
        self, pod: int, model: Model, done: Callable[[bool], None], keep_alive_seconds: float | None = None
    ) -> None:
        """Sends an empty call that loads a model; no client's leaving aborts it. `done`: whether it was answered."""

    def unload(self, pod: int, model: Model, done: Callable[[bool], None]) -> None:
        """Asks a pod to unload a model, which it does once the model is idle; `done` says whether it was answered.

        The answer comes before the model is gone: look.
        """

    def look(self, pod: int) -> None:
        """Polls a pod now, beside the regular polls; `saw` follows at once, but not within this call."""


class Policy(Protocol):
    """One gateway's rule and its state. Every call is sent now or later, or refused, or its client leaves."""

    def arrive(self, call: Call) -> None:
        """A new call."""

    def ended(self, call: Call, pod: int, ending: Ending) -> None:
        """A call that was sent has ended."""

    def left(self, call: Call) -> None:
        """The client of a call that was not sent yet has left; it must not be sent any more."""

    def saw(self, pod: int, listing: Sequence[Listed] | None) -> None:
        """A poll's result, at regular times from the start on; None: the pod did not answer."""

    def report(self) -> object | None:
        """What the other gateways shall know, asked each second; None is not sent. It must not change afterwards."""

    def heard(self, gateway: int, report: object) -> None:
        """What another gateway reported just now."""
