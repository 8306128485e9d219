"""Questions to what the audit keeps, answered in a thread of their own: neither requests nor the writer wait for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ai_gateway.audit.store import Archive, StoreUnavailable

T = TypeVar("T")


class ArchiveReader:
    """One archive and the thread that reads it. The archive is opened with the first question."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._is_open = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit-reader")

    async def query(self, question: Callable[[Archive], T]) -> T:
        """The answer to a question. Raises StoreUnavailable; the next question then opens the archive anew."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)

    def _answer(self, question: Callable[[Archive], T]) -> T:
        try:
            if not self._is_open:
                self._archive.open()
                self._is_open = True
            return question(self._archive)
        except StoreUnavailable:
            self._is_open = False
            raise

    async def close(self) -> None:
        """Breaks off the question under way, and closes the archive."""
        await asyncio.to_thread(self._archive.interrupt)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._archive.close)
        self._thread.shutdown(wait=False)
