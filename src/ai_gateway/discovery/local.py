"""An Ollama on this machine, used while it answers."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from ai_gateway.discovery.source import Found, Source, SourceStatus
from ai_gateway.wire.address import Address

LOCAL = Address("127.0.0.1")
LOOK_SECONDS = 2.0
HINT = f"nothing answers at {LOCAL}: start Ollama there, or say where yours is (OLLAMA_HOST, or `discovery`)"


class LocalSource(Source):
    """Lists `localhost:11434` from the moment it answers; a person may start Ollama after the gateway."""

    def __init__(self, answers: Callable[[Address], Awaitable[bool]], look_seconds: float = LOOK_SECONDS) -> None:
        self._answers = answers
        self._look_seconds = look_seconds
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
            while not await self._answers(LOCAL):  # noqa: ASYNC110 - another program starts, no event tells
                await asyncio.sleep(self._look_seconds)
        self._hint = None
        yield Found((LOCAL,))

    def status(self) -> SourceStatus:
        """See Source."""
        return SourceStatus(hint=self._hint)
