"""A lease: the right to use one slot of an endpoint until the last byte. It waits; the pool decides."""

import asyncio
from types import TracebackType

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.policy import Choice
from ai_gateway.balancing.pool import Pool, Ticket
from ai_gateway.errors import QueueTimeout


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
            if ticket.choice is None and ticket.refusal is None:
                self._pool.leave(ticket)
                raise self._too_long() from None
        except BaseException:
            self._pool.leave(ticket)
            raise
        if ticket.refusal is not None:
            raise ticket.refusal
        assert ticket.choice is not None
        return ticket.choice

    def _too_long(self) -> QueueTimeout:
        return QueueTimeout(
            f"No slot for model {self._pool.model!r} became free within {self._wait_seconds:g} s; try again later."
        )
