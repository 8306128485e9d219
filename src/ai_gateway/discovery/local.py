"""Finds an Ollama on this machine."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from ai_gateway.discovery.source import Found, Source, SourceStatus
from ai_gateway.wire.address import Address

LOCAL = Address("127.0.0.1")
CHECK_SECONDS = 2.0
HINT = f"nothing answers at {LOCAL}: start Ollama there, or set OLLAMA_HOST or `discovery` to where yours is"


class LocalSource(Source):
    """Lists `localhost:11434` once it answers. You may start Ollama after the gateway."""

    def __init__(self, answers: Callable[[Address], Awaitable[bool]], check_seconds: float = CHECK_SECONDS) -> None:
        self._answers = answers
        self._check_seconds = check_seconds
        self._hint: str | None = None

    @property
    def name(self) -> str:
        """See Source."""
        return "local"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        if not await self._answers(LOCAL):
            self._hint = HINT
            yield Found()
            while not await self._answers(LOCAL):  # noqa: ASYNC110 - another program starts without an event
                await asyncio.sleep(self._check_seconds)
        self._hint = None
        yield Found((LOCAL,))

    def status(self) -> SourceStatus:
        """See Source."""
        return SourceStatus(hint=self._hint)
