"""Ends a request when its client leaves, a deadline passes, or the gateway shuts down."""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType

from ai_gateway.edge.asgi import Scope
from ai_gateway.errors import ServerShutdown
from ai_gateway.exchange import ON_LEFT


class ClientLeft(Exception):
    """The client closed its connection; no reply can reach it."""


class ClientStalled(ClientLeft):
    """The client is connected but does not read its answer; the gateway cuts it off."""


class RunningRequests:
    """The cancel scopes of all running requests, so that a shutdown can end them. Changed by the scopes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.scopes: set[CancelScope] = set()
        self.is_over = False

    def end_all(self) -> None:
        """Ends every running request with ServerShutdown, and every later one."""
        self.is_over = True
        for cancel_scope in list(self.scopes):
            cancel_scope.end(_shutdown())


def _shutdown() -> ServerShutdown:
    return ServerShutdown("The gateway was shut down before the answer was finished; send it again.")


Deadline = tuple[float, Callable[[], Exception]]


class CancelScope:
    """`async with CancelScope(...)` cancels the block when it has no reason to go on, and raises the cause.

    Raises ClientLeft, ServerShutdown, or the error of a deadline. A deadline is a moment on the loop's clock with a
    function that makes its error: `total` holds throughout, `expect` sets the one of the present phase.
    """

    __slots__ = (
        "_check_seconds",
        "_ended",
        "_is_over",
        "_loop",
        "_phase",
        "_running_requests",
        "_scope",
        "_task",
        "_timer",
        "_total",
    )  # fmt: skip

    def __init__(self, scope: Scope, running_requests: RunningRequests, total: Deadline) -> None:
        self._scope = scope
        self._running_requests = running_requests
        self._loop = running_requests.loop
        self._total = total
        self._phase: Callable[[], Deadline] | None = None
        self._check_seconds = math.inf
        self._ended: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    async def __aenter__(self) -> "CancelScope":
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._running_requests.scopes.add(self)
        on_left = self._scope.get("extensions", {}).get(ON_LEFT)
        assert on_left is not None, "the server must be the gateway's own"
        on_left(self._left)
        self._arm(self._total[0])
        if self._running_requests.is_over:
            self.end(_shutdown())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running_requests.scopes.discard(self)
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._ended is not None:
            self._task.uncancel()
            raise self._ended from None

    def expect(self, phase: Callable[[], Deadline], check_seconds: float = math.inf) -> None:
        """Sets the deadline of the present phase; the scope calls `phase` again whenever its moment has come.

        If that moment can move nearer, the scope calls it at least every `check_seconds`.
        """
        self._phase = phase
        self._check_seconds = check_seconds
        due = min(phase()[0], self._loop.time() + check_seconds)
        if self._timer is None or due < self._timer.when():
            self._arm(due)

    @property
    def now(self) -> float:
        """The moment on the clock of deadlines, in seconds."""
        return self._loop.time()

    def relax(self) -> None:
        """The present phase is over, and the next one has no limit of its own."""
        self._phase = None

    def end(self, reason: Exception) -> None:
        """Ends the block with a reason; the first one counts."""
        if self._ended is None and not self._is_over:
            self._ended = reason
            self._task.cancel()

    def _left(self) -> None:
        self.end(ClientLeft())

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        soonest = self._loop.time() + self._check_seconds
        self._timer = self._loop.call_at(min(due, self._total[0], soonest), self._check)

    def _check(self) -> None:
        now = self._loop.time()
        due, error = self._total
        if self._phase is not None:
            due, error = min(self._total, self._phase(), key=lambda deadline: deadline[0])
        if now < due:
            self._arm(due)
        else:
            self.end(error())
