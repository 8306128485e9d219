"""The writer and SQLite where the database is locked, or the disk is full."""

import asyncio
import sqlite3
import time
from pathlib import Path

from tests.audit.entries import KEY, archive, entry
from tests.audit.scripted import writing
from tests.flow.waiting import until

from ai_gateway.audit.chain import verify
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_failures import BUSY_SECONDS
from ai_gateway.audit.store import Query


async def test_a_locked_database_holds_up_no_caller_and_loses_nothing(tmp_path: Path) -> None:
    """Another process has the write lock for longer than the writer waits; the event loop does not feel it."""
    path = tmp_path / "audit.db"
    async with writing(SqliteStore(path, False, time.time_ns)) as made:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        slowest = 0.0
        for _ in range(500):
            began = time.monotonic()
            made.enqueue(entry())
            await asyncio.sleep(0)
            slowest = max(slowest, time.monotonic() - began)
        await until(lambda: made.failure is not None and "locked" in made.failure, "the writer has noticed")
        assert slowest < BUSY_SECONDS
        other.execute("COMMIT")
        other.close()
        await until(lambda: made.results["stored"] == 500, "all is written")


class Small(SqliteStore):
    """A database that may have so many pages: what is too much fails as on a disk that is full."""

    most_pages = 150

    def open(self) -> None:
        """Sets the limit."""
        super().open()
        assert self._connection is not None
        self._connection.execute(f"PRAGMA max_page_count = {self.most_pages}")


async def test_a_full_disk_is_reported_and_recovered_from(tmp_path: Path) -> None:
    kept = Small(tmp_path / "audit.db", False, time.time_ns)
    async with writing(kept) as made:
        for _ in range(200):
            made.enqueue(entry(request_content="x" * 10_000))
        await until(lambda: made.failure is not None and "full" in made.failure, "the disk is full")
        assert made.results["dropped"] == made.results["failed"] == 0
        kept.most_pages = 1 << 20
        await until(lambda: made.results["stored"] == 200 and made.failure is None, "all is written")
    asked = archive(tmp_path / "audit.db")
    assert len(asked.page(Query(limit=1000)).entries) == 200
    assert list(verify(asked.chain(), asked.checkpoints(), KEY)) == []
