"""One simulated Ollama process: the state that its routes share, and a request with its answer."""

import asyncio
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ai_gateway.simulator.answer import Answer
from ai_gateway.simulator.faults import ENDINGS, Fault
from ai_gateway.simulator.go_json import encode
from ai_gateway.simulator.http1 import Request
from ai_gateway.simulator.leasing import Leasing
from ai_gateway.simulator.native_answers import GIN_JSON
from ai_gateway.simulator.scheduler import Limits
from ai_gateway.simulator.settings import Settings
from ai_gateway.simulator.store import Store

JSON = "application/json"
_READS = "/api/show"  # a POST that changes nothing; a gateway sends many


@dataclass(slots=True)
class Ledger:
    """Counters of an endpoint. They outlive a restart."""

    remembered: int
    requests: int = 0
    running: int = 0
    cold: int = 0  # calls with a prompt that found no runner of theirs
    cancelled: int = 0  # clients that disconnected before their answer was finished
    by_path: Counter[str] = field(default_factory=Counter)
    last: deque[Request] = field(default_factory=deque)  # POSTs and DELETEs, the newest at the end, without /api/show

    def note(self, request: Request) -> None:
        """Counts a request."""
        self.requests += 1
        self.by_path[request.path] += 1
        if request.method not in ("GET", "HEAD") and request.path != _READS:
            self.last.append(request)
            while len(self.last) > self.remembered:
                self.last.popleft()


@dataclass(slots=True)
class Pod:
    """The state of one process. `clock` is Unix time. A restart makes a new `leasing`."""

    settings: Settings
    store: Store
    ledger: Ledger
    clock: Callable[[], float]
    leasing: Leasing
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(417))

    def next_number(self) -> int:
        """The number in the next answer's id, 0..998: not unique, as in Ollama."""
        return next(self.numbers) * 7919 % 999


def new_leasing(settings: Settings) -> Leasing:
    """An empty scheduler with the settings' limits."""
    keep_alive = settings.keep_alive_seconds
    return Leasing(
        Limits(
            max_loaded=settings.max_loaded,
            max_queue=settings.max_queue,
            keep_alive=math.inf if keep_alive < 0 else keep_alive,
            memory_bytes=settings.memory_bytes,
            listed_after=settings.listed_after,
        )
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A request with its answer and the faults that apply to it."""

    request: Request
    answer: Answer
    faults: tuple[Fault, ...] = ()

    @property
    def slowness(self) -> float:
        """By which factor everything is slower."""
        return math.prod(fault.factor for fault in self.faults if fault.kind == "slow")

    @property
    def ending(self) -> Fault | None:
        """The fault that breaks the answer, if any."""
        return next((fault for fault in self.faults if fault.kind in ENDINGS), None)

    def reply(self, value: object, status: int = 200) -> None:
        """A JSON answer as gin writes it."""
        self.answer.whole(status, GIN_JSON, encode(value))


Handler = Callable[[Call], Coroutine[Any, Any, None]]


async def forever() -> None:
    """Waits until the client disconnects."""
    await asyncio.get_running_loop().create_future()
