"""Entries on their way from the event loop to the writer's thread, and the futures of callers that wait for one."""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.settings import AuditSettings
from ai_gateway.audit.store import IntentsGone, StoreUnavailable

MOST_QUEUED: Final = 10_000
MOST_QUEUED_BYTES: Final = 64 << 20  # of content, which may be large where `audit.level` asks for it
MOST_AT_ONCE: Final = 500
GATHER_SECONDS: Final = 0.05  # that the first entry of a batch waits for others, unless one has a future


class Queued(msgspec.Struct):
    """An entry on its way; `is_stored` is resolved when it is durable, or fails with StoreUnavailable."""

    entry: AuditEntry
    content_bytes: int  # in memory, when it came: Python's texts may grow when they are encoded
    is_stored: asyncio.Future[None] | None = None


class Backlog:
    """What is not durable yet: a queue, and the batch that is being written. The loop changes the queue's end by
    `put`; all the rest is the thread's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[Queued] = deque()
        self._awake = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.Lock()  # of count and bytes, and of moves between queue and batch
        self._count = 0
        self._is_over = False
        self._content_bytes = 0
        self._alone = 0  # so many batches to come hold one entry
        self.batch: list[Queued] = []
        # The batch as it was written, where the store may have it: both stay as they are until the store answers.
        self.final: list[AuditEntry] = []
        self.unwritten: set[str] = set()  # intents that the store never took, whose ends may still come

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether as many entries, or as much content, wait as may."""
        return self._count >= MOST_QUEUED or self._content_bytes >= MOST_QUEUED_BYTES

    def put(self, entry: AuditEntry, is_stored: asyncio.Future[None] | None = None) -> None:
        """Adds an entry; one with a future waits for no others."""
        queued = Queued(entry, _content_bytes(entry), is_stored)
        with self._lock:
            self._count += 1
            self._content_bytes += queued.content_bytes
        self._queue.append(queued)
        if is_stored is not None:
            self._hurry.set()
        if not self._awake.is_set():
            self._awake.set()

    def leave(self) -> None:
        """Nothing is waited for any more."""
        self._is_over = True
        self._hurry.set()
        self._awake.set()

    def oldest(self) -> AuditEntry | None:
        """The entry that has waited longest."""
        with self._lock:
            waiting = self.batch or self._queue
            return waiting[0].entry if waiting else None

    def intents(self) -> set[str]:
        """Those whose ends are on their way."""
        return {one.entry.intent for one in (*self.batch, *self._queue.copy()) if one.entry.intent is not None}

    def wait(self, seconds: float) -> None:
        """Until there is an entry, or a time is over, or `wake`."""
        self._awake.clear()
        if not self._queue and not self._is_over:
            self._awake.wait(max(0.0, seconds))

    def pause(self, seconds: float) -> bool:
        """Until an entry with a future comes, or a time is over; whether one has come."""
        is_hurried = self._hurry.wait(max(0.0, seconds))
        self._hurry.clear()
        return is_hurried

    def gather(self, is_leaving: bool) -> None:
        """Fills the batch: with what comes within a moment of the first entry; at once if an entry has a future."""
        if self.final:
            return
        if not self.batch and len(self._queue) < MOST_AT_ONCE and not is_leaving:
            self._hurry.wait(GATHER_SECONDS)
        self._hurry.clear()
        most = 1 if self._alone else MOST_AT_ONCE
        self._alone = max(0, self._alone - 1)
        with self._lock:
            while self._queue and len(self.batch) < most:
                self.batch.append(self._queue.popleft())
        if self._queue:
            self._hurry.set()

    def finish(self) -> None:
        """The batch is durable."""
        done, self.batch, self.final = self.batch, [], []
        self._leave(done)
        if self.unwritten:
            self.unwritten.difference_update(queued.entry.intent or "" for queued in done)
        self._resolve(done, None)

    def leave_out(self, error: StoreUnavailable) -> None:
        """The batch will never be written: its futures get the error."""
        gone, self.batch, self.final = self.batch, [], []
        self._leave(gone)
        self.unwritten |= {one.entry.intent for one in gone if one.entry.kind == "intent" and one.entry.intent}
        self._resolve(gone, error)

    def settle(self, gone: IntentsGone) -> None:
        """Ends whose intents are closed already add nothing; they leave the batch."""
        settled: list[Queued] = []
        kept: list[Queued] = []
        closed = set(gone.intents)
        for queued in self.batch:
            intent = queued.entry.intent
            (settled if intent in closed else kept).append(queued)
            if queued.entry.kind == "end" and intent in gone.again:
                closed.add(intent)
        self.batch, self.final = kept, []
        self._leave(settled)
        self._resolve(settled, None)

    def split(self) -> None:
        """Something in the batch cannot be written: each of its entries is tried alone."""
        self._alone = len(self.batch)
        self._queue.extendleft(reversed(self.batch))
        self.batch, self.final = [], []

    def give_back(self, error: StoreUnavailable) -> None:
        """Nothing can be written now: the futures of intents get the error at once, ends stay in the queue."""
        if self.final:  # its intents may be open
            intents = [queued for queued in self.batch if queued.entry.kind == "intent"]
            self._resolve(intents, error)
            for queued in intents:
                queued.is_stored = None
        with self._lock:
            waiting: list[Queued] = []
            if not self.final:
                waiting, self.batch = self.batch, []
            waiting += [self._queue.popleft() for _ in range(len(self._queue))]
            self._queue.extendleft(queued for queued in reversed(waiting) if queued.entry.kind == "end")
        refused = [queued for queued in waiting if queued.entry.kind == "intent"]
        self._leave(refused)
        self.unwritten |= {queued.entry.intent for queued in refused if queued.entry.intent is not None}
        self._resolve(refused, error)

    def _leave(self, gone: Sequence[Queued]) -> None:
        with self._lock:
            self._count -= len(gone)
            self._content_bytes -= sum(queued.content_bytes for queued in gone)

    def _resolve(self, done: Sequence[Queued], error: StoreUnavailable | None) -> None:
        """Ends the wait for these entries."""
        futures = [queued.is_stored for queued in done if queued.is_stored is not None]
        if futures:
            self._loop.call_soon_threadsafe(_resolve, futures, error)


def numbered(backlog: Backlog, first: int, settings: AuditSettings) -> list[AuditEntry]:
    """With the writer's name, numbers from `first`, and content as it may be kept. An end whose intent was never
    written closes none."""
    replace, redact, unwritten = msgspec.structs.replace, settings.redact, backlog.unwritten
    entries = []
    for sequence, queued in enumerate(backlog.batch, first):
        entry = replace(queued.entry, writer=settings.writer, sequence=sequence)
        if redact is not None and (entry.request_content or entry.answer_content):
            asked, answered = (text and redact(text) for text in (entry.request_content, entry.answer_content))
            entry = replace(entry, request_content=asked, answer_content=answered)
        if entry.kind == "end" and entry.intent in unwritten:
            entry = replace(entry, intent=None)
        entries.append(entry)
    return entries


def _content_bytes(entry: AuditEntry) -> int:
    return sum(sys.getsizeof(text) for text in (entry.request_content, entry.answer_content) if text)


def _resolve(futures: Sequence[asyncio.Future[None]], error: StoreUnavailable | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
