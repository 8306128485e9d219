"""An Ollama on this machine, used while it answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from ai_gateway.discovery.source import Addresses
from ai_gateway.wire.address import Address

LOCAL = Address("127.0.0.1")
LOOK_SECONDS = 2.0


class LocalSource:
    """Lists `localhost:11434` from the moment it answers; a person may start Ollama after the gateway."""

    name = "local"

    def __init__(self, answers: Callable[[Address], Awaitable[bool]], look_seconds: float = LOOK_SECONDS) -> None:
        self._answers = answers
        self._look_seconds = look_seconds

    async def lists(self) -> AsyncIterator[Addresses]:
        """See Source."""
        if not await self._answers(LOCAL):
            yield ()
            while not await self._answers(LOCAL):  # noqa: ASYNC110 - another program starts, no event tells
                await asyncio.sleep(self._look_seconds)
        yield (LOCAL,)
