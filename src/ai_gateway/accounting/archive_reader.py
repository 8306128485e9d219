"""Queries the audit's archive in a thread of its own: neither requests nor the writer wait for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ai_gateway.audit.store import Archive, StoreUnavailable

T = TypeVar("T")


class ArchiveReader:
    """One archive and the thread that reads it. The first query opens the archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._is_open = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit-reader")

    async def query(self, read: Callable[[Archive], T]) -> T:
        """Runs `read` on the archive. After StoreUnavailable the next query opens the archive again."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, read)

    def _run(self, read: Callable[[Archive], T]) -> T:
        try:
            if not self._is_open:
                self._archive.open()
                self._is_open = True
            return read(self._archive)
        except StoreUnavailable:
            self._is_open = False
            raise

    async def close(self) -> None:
        """Interrupts the running query, and closes the archive."""
        await asyncio.to_thread(self._archive.interrupt)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._archive.close)
        self._thread.shutdown(wait=False)
