"""The endpoints that can serve one model, the queue of calls that wait for a slot there, and the lease of a slot.

A pool is plain state, and nothing in it waits: a call gets a Choice, or a Ticket that is settled later, or an error.
A Lease waits for that, and holds the slot until the last byte.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType

import msgspec

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.policy import Choice, Policy
from ai_gateway.errors import BackendUnavailable, ModelMissing, NoEndpoint, QueueFull, QueueTimeout


class PoolSettings(msgspec.Struct, frozen=True):
    """The settings of one pool: the calls at a time per endpoint, and how many more may wait.

    An endpoint's own number of slots overrides `slots`; `own_slots` is the model's limit on any endpoint.
    """

    slots: int = 1
    own_slots: int | None = None
    max_waiting: int = 0


class Ticket:
    """A place in the queue. `settle` is called once, when `choice` or `error` has been set by the pool."""

    __slots__ = ("avoid", "choice", "error", "settle")

    def __init__(self, avoid: frozenset[Endpoint], settle: Callable[[], None]) -> None:
        self.avoid = avoid
        self.settle = settle
        self.choice: Choice | None = None
        self.error: BackendUnavailable | None = None


class Pool:
    """One model's queue over the fleet's endpoints. Changed by calls (ask, leave, give_back) and by the fleet."""

    def __init__(
        self,
        model: str,
        settings: PoolSettings,
        endpoints: Callable[[], Iterable[Endpoint]],
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self.model = model
        self.settings = settings  # replaced by the fleet
        self.used_at = clock()  # when it was made or last used
        self._endpoints = endpoints
        self._policy = policy
        self._clock = clock
        self._queue: deque[Ticket] = deque()

    def __repr__(self) -> str:
        return f"<Pool {self.model}, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot."""
        return len(self._queue)

    def ask(self, avoid: frozenset[Endpoint] = frozenset()) -> Choice | None:
        """Takes a slot at once, on an endpoint not in `avoid`; None: the call must `wait`.

        Raises NoEndpoint, ModelMissing or QueueFull if waiting is useless.
        """
        self.used_at = self._clock()
        # Retries are at the front; if only they wait, they wait for other slots than this call may use.
        if avoid or not self._queue or self._queue[-1].avoid:
            choice = self._take(avoid)
            if choice is not None:
                return choice
        self._refuse_the_hopeless(avoid)
        if len(self._queue) >= self.settings.max_waiting and not avoid:
            raise QueueFull(f"{self.waiting} requests already wait for model {self.model!r}; try again later.")
        return None

    def wait(self, ticket: Ticket) -> None:
        """Queues a call that got no slot from `ask`. A retry goes to the front."""
        if ticket.avoid:
            self._queue.appendleft(ticket)
        else:
            self._queue.append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Takes a call out of the queue, or returns a granted slot that it did not use."""
        if ticket.choice is not None:
            self.give_back(ticket.choice.endpoint)
        elif ticket in self._queue:
            self._queue.remove(ticket)

    def give_back(self, endpoint: Endpoint) -> None:
        """Frees a slot; the call that waits longest gets it."""
        endpoint.give_slot_back(self.model)
        if self._queue:
            self.bind_waiting()

    def bind_waiting(self) -> None:
        """Gives free slots to waiting calls, in order; refuses calls that no endpoint can serve any more."""
        for ticket in list(self._queue):
            try:
                ticket.choice = self._take(ticket.avoid)
                if ticket.choice is None:
                    self._refuse_the_hopeless(ticket.avoid)
                    if not ticket.avoid:
                        return  # all calls after it need the same slots
                    continue
            except BackendUnavailable as error:
                ticket.error = error
            self._queue.remove(ticket)
            ticket.settle()

    def endpoints_with(self, avoid: frozenset[Endpoint] = frozenset()) -> list[Endpoint]:
        """Usable endpoints that hold the model; if none surely does, those that may hold it."""
        sure: list[Endpoint] = []
        unsure: list[Endpoint] = []
        for endpoint in self._endpoints():
            if endpoint.is_usable and endpoint not in avoid:
                holds = endpoint.holds(self.model)
                if holds is not False:
                    (sure if holds else unsure).append(endpoint)
        return sure or unsure

    def _take(self, avoid: frozenset[Endpoint]) -> Choice | None:
        now = self._clock()
        slots, own_slots = self.settings.slots, self.settings.own_slots
        free: list[Endpoint] = []
        for endpoint in self.endpoints_with(avoid):
            if endpoint.takes(self.model, endpoint.slots(slots, own_slots), now):
                free.append(endpoint)
        if not free:
            return None
        choice = self._policy.pick(free, self.model)
        choice.endpoint.take_slot(self.model)
        return choice

    def _refuse_the_hopeless(self, avoid: frozenset[Endpoint]) -> None:
        if self.endpoints_with(avoid):
            return
        others = [endpoint for endpoint in self._endpoints() if endpoint.is_usable and endpoint not in avoid]
        if others and not any(endpoint.holds(self.model) for endpoint in self._endpoints()):
            raise ModelMissing(
                f"Model {self.model!r} is configured, but no Ollama endpoint has it; pull it there (ollama pull "
                f"{self.model})."
            )
        raise NoEndpoint(
            f"No Ollama endpoint with model {self.model!r} is up; see GET /v1/health for each one's state."
        )


class Lease:
    """`async with Lease(pool, ...) as choice:` waits for a slot, and returns it at the end of the block.

    `wait_seconds` limits the wait; `avoid` has the endpoints that this call was already sent to. Raises
    BackendUnavailable if the pool refuses, QueueTimeout if the wait was too long.
    """

    __slots__ = ("_avoid", "_choice", "_pool", "_wait_seconds")

    def __init__(self, pool: Pool, wait_seconds: float, avoid: frozenset[Endpoint] = frozenset()) -> None:
        self._pool = pool
        self._wait_seconds = wait_seconds
        self._avoid = avoid
        self._choice: Choice | None = None

    async def __aenter__(self) -> Choice:
        choice = self._pool.ask(self._avoid)
        if choice is None:
            choice = await self._wait()
        self._choice = choice
        choice.endpoint.total_attempts += 1
        return choice

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._choice is not None:
            self._pool.give_back(self._choice.endpoint)
            self._choice = None

    async def _wait(self) -> Choice:
        settled = asyncio.Event()
        ticket = Ticket(self._avoid, settled.set)
        self._pool.wait(ticket)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await settled.wait()
        except TimeoutError:
            # A slot that is granted at the moment of the timeout is used, not lost.
            if ticket.choice is None and ticket.error is None:
                self._pool.leave(ticket)
                raise self._too_long() from None
        except BaseException:
            self._pool.leave(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error
        assert ticket.choice is not None
        return ticket.choice

    def _too_long(self) -> QueueTimeout:
        return QueueTimeout(
            f"No slot for model {self._pool.model!r} became free within {self._wait_seconds:g} s; try again later."
        )
