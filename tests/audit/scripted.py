"""A store that does as a test says, and a writer before it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.audit.entries import KEY

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.settings import AuditSettings
from ai_gateway.audit.store import ChainForked, IntentsGone, StoreLost, StoreUnavailable, StoreUnsure
from ai_gateway.audit.writer import Writer

NAME = "here/1"


class Scripted:
    """A store that keeps batches, or fails as long as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[AuditEntry]] = []
        self.checkpoints: list[Checkpoint] = []
        self.trouble: str | None = None
        self.missing: str | None = None  # what it had; `open` and `look` say so
        self.begun_anew = 0
        self.is_unsure = False  # it fails when it has taken a batch
        self.forked: ChainForked | None = None  # once
        self.gone: frozenset[str] = frozenset()
        self.lost: list[AuditEntry] = []
        self.poison: str | None = None
        self.failure: Exception | None = None  # unexpected, once
        self.tries = 0

    @property
    def entries(self) -> list[AuditEntry]:
        """All that was written."""
        return [one for batch in self.batches for one in batch]

    def open(self) -> None:
        """Fails while there is trouble."""
        self._try()
        self.check()

    def check(self) -> None:
        """What it has is there, unless the test says otherwise."""
        if self.missing is not None:
            raise StoreLost(self.missing)

    def begin_anew(self) -> None:
        """It is not missed any more."""
        self.missing = None
        self.begun_anew += 1

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """Keeps a batch."""
        self._try()
        if any(one.request_id == self.poison for one in entries):
            raise OverflowError("too large a number\nCONTEXT:  COPY audit_entries, column request_content: a secret")
        if self.forked is not None:
            forked, self.forked = self.forked, None
            raise forked
        ends = Counter(one.intent for one in entries if one.kind == "end" and one.intent is not None)
        again = frozenset(intent for intent, count in ends.items() if count > 1)
        gone = self.gone & {one.intent for one in entries if one.intent is not None}
        if gone or again:
            raise IntentsGone(frozenset(gone), again)
        if list(entries) not in self.batches:  # which is there already
            self.batches.append(list(entries))
        if self.is_unsure:
            raise StoreUnsure("no word came")

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keeps it."""
        self.checkpoints.append(checkpoint)

    def heartbeat(self, writer: str) -> None:
        """Fails while there is trouble."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        self._try()

    def lost_intents(self, writer: str) -> Sequence[AuditEntry]:
        """Those that the test has put there."""
        found, self.lost = self.lost, []
        return found

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """Nothing is old."""
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def _try(self) -> None:
        self.tries += 1
        if self.trouble is not None:
            raise StoreUnavailable(self.trouble)


@asynccontextmanager
async def writing(kept: Any, **more: Any) -> AsyncIterator[Writer]:
    """A writer that has tried its store; it is stopped at the end."""
    usual = {"writer": NAME, "key": lambda: KEY, "keep_seconds": 1e6, "max_bytes": 1 << 40, "again_seconds": 0.02}
    settings = AuditSettings(**{**usual, **more})
    made = Writer(kept, settings, asyncio.get_running_loop())
    made.start()
    await asyncio.to_thread(made.is_tried.wait)
    try:
        yield made
    finally:
        await asyncio.to_thread(made.stop, 5.0)
