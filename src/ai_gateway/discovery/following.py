"""Keeps up with a source: takes each list as it comes, and another source when the config names one."""

import asyncio
import logging
from collections.abc import Callable

from ai_gateway.discovery.source import Addresses, Source

log = logging.getLogger("ai_gateway.discovery")

RETRY_SECONDS = 1.0


class Following:
    """One source at a time. `apply` gets each list; the last one stays in force when a source fails."""

    def __init__(self, apply: Callable[[Addresses], None]) -> None:
        self._apply = apply
        self._task: asyncio.Task[None] | None = None
        self.source_name = "none"

    def follow(self, source: Source) -> None:
        """Leaves the present source and begins with this one."""
        if self._task is not None:
            self._task.cancel()
        self.source_name = source.name
        self._task = asyncio.create_task(self._take_lists(source))

    async def stop(self) -> None:
        """Leaves the present source."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take_lists(self, source: Source) -> None:
        while True:
            try:
                async for addresses in source.lists():
                    log.info("discovery (%s): %s", source.name, ", ".join(map(str, addresses)) or "no endpoint")
                    self._apply(addresses)
                return
            except Exception:  # a source may fail in ways of its own; the endpoints known so far go on
                log.exception("discovery (%s) failed; the last list stays in force", source.name)
                await asyncio.sleep(RETRY_SECONDS)
