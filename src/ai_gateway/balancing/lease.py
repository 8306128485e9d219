"""The right to use one slot of an endpoint, held until the last byte. A lease waits for what its pool grants."""

import asyncio
from types import TracebackType
from typing import Final

import msgspec

from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.seats import NOWHERE
from ai_gateway.balancing.ticket import ANYONE, Claim, Ticket
from ai_gateway.errors import GatewayError, QueueTimeout

SHORTEST_LOOK_SECONDS: Final = 0.02


class Waits(msgspec.Struct, frozen=True):
    """How long a call may wait: for a slot while its model is resident somewhere, and for its load while it is not."""

    queue_seconds: float
    load_seconds: float


class Lease:
    """`async with Lease(pool, ...) as choice:` waits for a slot, and returns it at the end of the block.

    The pool learns how long calls take, except from those that `has_failed`, often at once.
    `avoid` has the endpoints that this call was already sent to. Raises GatewayError if the pool refuses, QueueTimeout
    or ModelLoading if the wait was too long. `load_wait_seconds` is how much of the wait passed while the model was
    resident nowhere; it is known when the wait is over.
    """

    __slots__ = (
        "_avoid",
        "_choice",
        "_claim",
        "_granted_at",
        "_pool",
        "_ticket",
        "_waits",
        "has_failed",
        "has_waited",
        "load_wait_seconds",
    )

    def __init__(self, pool: Pool, waits: Waits, avoid: frozenset[Endpoint] = NOWHERE, claim: Claim = ANYONE) -> None:
        self._pool = pool
        self._waits = waits
        self._avoid = avoid
        self._claim = claim
        self._choice: Choice | None = None
        self._granted_at = 0.0
        self._ticket: Ticket | None = None
        self.load_wait_seconds = 0.0
        self.has_failed = False  # set within the block
        self.has_waited = False

    async def __aenter__(self) -> Choice:
        choice = self._pool.ask(self._avoid, self._claim)
        if choice is None:
            choice = await self._wait()
        self._choice = choice
        self._granted_at = self._pool.now
        choice.endpoint.total_attempts += 1
        return choice

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._choice is not None:
            if error is None and not self.has_failed:
                self._pool.note_call(self._pool.now - self._granted_at)
            self._pool.give_back(self._choice.endpoint, self._choice.name)
            self._choice = None

    def outlook(self) -> str:
        """What the call waits for, for the comments in a stream."""
        ticket, pool = self._ticket, self._pool
        if ticket is None:
            return "a free slot"
        if not pool.is_warm_for(ticket):
            return "the model to load" if pool.endpoints_with() else "an endpoint with the model"
        place = pool.queue.position(ticket)
        seconds = pool.predicted_seconds(place)
        about = "" if seconds is None else f", about {max(1, round(seconds))} s"
        return f"a free slot, number {place} in the queue{about}"

    async def _wait(self) -> Choice:
        settled, self.has_waited = asyncio.Event(), True
        self._ticket = ticket = Ticket(self._avoid, settled.set, self._claim)
        self._pool.wait(ticket)
        try:
            while not settled.is_set():
                error = self._expired(ticket)
                if error is not None:
                    self._pool.leave(ticket)
                    raise error
                try:
                    async with asyncio.timeout(self._left(ticket)):
                        await settled.wait()
                except TimeoutError:
                    continue  # the model may have been loaded or unloaded since: then other limits count
        except GatewayError:
            raise
        except BaseException:
            self._pool.leave(ticket)
            raise
        finally:
            self._ticket = None
            self.load_wait_seconds = self._pool.waited(ticket)[1]
        if ticket.error is not None:
            raise ticket.error
        assert ticket.choice is not None
        return ticket.choice

    def _left(self, ticket: Ticket) -> float:
        """When to look again: one of the limits may be over. Only one clock runs, so the other must not hurry it."""
        warm, cold = self._pool.waited(ticket)
        return max(SHORTEST_LOOK_SECONDS, min(self._waits.queue_seconds - warm, self._waits.load_seconds - cold))

    def _expired(self, ticket: Ticket) -> GatewayError | None:
        warm, cold = self._pool.waited(ticket)
        if warm >= self._waits.queue_seconds:
            return QueueTimeout(
                f"No slot for model {self._pool.title!r} became free within {self._waits.queue_seconds:g} s; try again "
                "later."
            )
        if cold >= self._waits.load_seconds:
            return self._pool.still_loading(self._waits.load_seconds)
        return None
