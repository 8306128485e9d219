"""The thread that writes entries: many at a time, chained, and again until the store takes them."""

import asyncio
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

from ai_gateway.audit.backlog import Backlog, numbered
from ai_gateway.audit.chain import Link
from ai_gateway.audit.entry import AuditEntry, lost_end
from ai_gateway.audit.marks import Losses, Marks
from ai_gateway.audit.settings import AuditSettings
from ai_gateway.audit.store import (
    ChainForked,
    IntentsGone,
    Store,
    StoreDamaged,
    StoreLost,
    StoreTooNew,
    StoreUnavailable,
    StoreUnsure,
)
from ai_gateway.failure_log import FailureLog

log = logging.getLogger("ai_gateway.audit")

CHECKPOINT_ENTRIES: Final = 1000
CHECKPOINT_SECONDS: Final = 60.0
HEARTBEAT_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 0.5  # between two checks whether what was stored is there; each batch is followed by one
SWEEP_SECONDS: Final = 20.0  # between two searches for what dead gateways left behind
AGAIN_LEAVING_SECONDS: Final = 0.1
RETENTION_SECONDS: Final = 3600.0
RETENTION_AGAIN_SECONDS: Final = 0.5  # while there is more to remove

Result = Literal["stored", "dropped", "failed"]


class Writer:
    """Entries in, a store behind. The loop calls `start`, `enqueue`, `durable` and `stop`; its own thread, which alone
    has the store, does the rest. `failure` says why nothing can be written, None if it can."""

    def __init__(self, store: Store, settings: AuditSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._settings = settings
        self._loop = loop
        self._backlog = Backlog(loop)
        self._link = Link(b"")
        self._marks = Marks(settings)
        self._is_leaving = False
        self._leave_by = float("inf")
        self.is_outdated = False  # a newer gateway's store, which this one can never write to
        self._is_open = self._was_open = False
        self._failures = FailureLog(log)
        self._due: dict[Callable[[], None], float] = {}  # what is done again and again, and when next
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self.results: Counter[Result] = Counter()
        self.failure: str | None = "the audit is not open yet"
        self.key: bytes | None = None  # the chain's, once it is read
        self.losses = Losses()
        self.is_tried = threading.Event()  # the store was opened, or could not be

    def start(self) -> None:
        """Starts the thread, which opens the store."""
        self._thread.start()

    def enqueue(self, entry: AuditEntry) -> None:
        """Takes an entry, or drops and counts it where too many wait; the end of an intent is never dropped."""
        if not self._backlog.is_full or entry.intent is not None:
            self._backlog.put(entry)
            return
        if not self.results["dropped"]:
            log.error("audit entries are dropped: %s", self.failure or "the store is too slow")
        self.results["dropped"] += 1

    def durable(self, entry: AuditEntry) -> asyncio.Future[None]:
        """Takes an entry; done when it is durable. Raises StoreUnavailable for an intent that cannot be written.

        An end stays in the queue, whether or not its caller still waits.
        """
        is_stored: asyncio.Future[None] = self._loop.create_future()
        if self.failure is not None and entry.kind == "intent":
            self._backlog.unwritten.add(entry.intent or "")  # its end comes all the same, and closes nothing
            is_stored.set_exception(StoreUnavailable(self.failure))
        else:
            self._backlog.put(entry, is_stored)
        return is_stored

    @property
    def queued(self) -> int:
        """Entries that are not durable yet."""
        return len(self._backlog)

    def lag_seconds(self) -> float:
        """How long the oldest of them has been waiting."""
        return 0.0 if (one := self._backlog.oldest()) is None else max(0.0, (self._settings.clock() - one.at_ns) / 1e9)

    def stop(self, seconds: float) -> int:
        """Writes what is queued, within a time, and ends the thread. Blocks; returns how many entries are lost."""
        self._leave_by = time.monotonic() + seconds
        self._is_leaving = True
        self._backlog.leave()
        self._thread.join(seconds)
        lost = self.queued
        if lost:
            self.results["failed"] += lost
            log.error("%d audit entries were not written: %s", lost, self.failure or "the store is too slow")
        return lost

    # From here on in the thread alone.

    def _run(self) -> None:
        try:
            while (not self._is_leaving or self.queued) and time.monotonic() < self._leave_by:
                try:
                    if not self._is_open:
                        self._open()
                    self._iteration()
                except StoreLost as error:
                    self._miss(error)
                except StoreUnavailable as error:
                    self._rest(error)
                except Exception as error:  # whatever it is, the next entries must not be lost for it
                    self._failures.note(error, "the audit failed unexpectedly, and is tried again every second")
                    self._rest(StoreUnavailable(f"{type(error).__name__}; the log has its traceback"))
            if self.failure is None:
                self._mark()
        except Exception:
            log.exception("the audit's last checkpoint could not be written")
        finally:
            self._store.close()
            self.is_tried.set()

    def _miss(self, error: StoreLost) -> None:
        """What was stored is gone. Above best effort, the writer goes on when it is back, or after a restart."""
        may_begin = self._settings.begins_anew or not (self._was_open or isinstance(error, StoreDamaged))
        if not may_begin:
            self._fail(error)  # first: from the moment that the log knows of the loss no call is sent
        is_new = self.losses.note(error, self._link.sequence, may_begin)
        if is_new and not may_begin and self.key is not None and self._link.sequence:
            self._marks.elsewhere(self.key, self._link)
        if not may_begin or (self.losses.has_gap and not isinstance(error, StoreDamaged)):
            self._rest(error)
            return
        self.losses.has_gap, self._is_open = True, False
        try:
            self._store.begin_anew()
        except StoreUnavailable as worse:
            self._rest(worse)

    def _rest(self, error: StoreUnavailable) -> None:
        """After a failure: until it is time to try again, which is soon where the gateway leaves."""
        self._fail(error)
        if self._is_leaving:
            time.sleep(AGAIN_LEAVING_SECONDS)
        else:
            self._pause(error)

    def _open(self) -> None:
        """Opens the store, and tries to write to it."""
        self._store.open()
        if self.key is None:
            try:
                self.key = self._settings.key()
            except OSError as error:
                raise StoreUnavailable(f"the key of the audit: {error}") from error
            self._link = Link(self.key)
        elif self._settings.restore_key is not None:
            self._settings.restore_key(self.key)
        self._store.heartbeat(self._settings.writer)
        if self.losses.has_gap:
            self._marks.gap(self._store, self.key, self._link)
            self.losses.has_gap = False
        self._is_open = self._was_open = True
        often = {self._sweep: 0.0, self._check: CHECK_SECONDS, self._sign_of_life: HEARTBEAT_SECONDS}
        seldom = dict.fromkeys((self._mark, self._retain), CHECKPOINT_SECONDS)
        now = time.monotonic()
        self._due = {duty: now + seconds for duty, seconds in {**often, **seldom}.items()}
        if not self.queued:  # else it has recovered once these are written
            self._recover()

    def _iteration(self) -> None:
        """Waits for entries or for what is due, and does it."""
        if not self.queued and not self._is_leaving:
            self._backlog.wait(min(self._due.values()) - time.monotonic())
        if self.queued:
            self._backlog.gather(self._is_leaving)
            self._write()
        for duty, due in tuple(self._due.items()):
            if time.monotonic() >= due:
                duty()

    def _write(self) -> None:
        """Writes the batch. What cannot be written for what it is must not stand in the way of the rest."""
        # What the store may have is written again as it was: other entries must not get its numbers.
        entries = self._backlog.final or numbered(self._backlog, self._link.sequence + 1, self._settings)
        if not self._is_stored(entries):
            return
        self.results["stored"] += len(entries)
        self._backlog.finish()
        self._recover()
        if self._link.sequence - self._marks.sequence >= CHECKPOINT_ENTRIES:
            self._mark()

    def _is_stored(self, entries: list[AuditEntry]) -> bool:
        """Whether the store has them now; if not, the batch is changed such that it may. Raises StoreUnavailable."""
        backlog, link, before = self._backlog, self._link, (self._link.sequence, self._link.last_hash)
        try:
            self._store.write(entries, link.join(entries))
        except IntentsGone as gone:
            link.back_to(*before)
            backlog.settle(gone)
        except ChainForked as fork:
            log.error("%s; new entries get the numbers after them", fork)
            link.back_to(fork.sequence, fork.last_hash)
            backlog.final = []
        except StoreUnavailable as error:
            link.back_to(*before)
            if isinstance(error, StoreUnsure | StoreLost):
                backlog.final = entries
            raise
        except Exception:
            link.back_to(*before)
            self._isolate()
        else:
            return True
        return False

    def _isolate(self) -> None:
        if len(self._backlog.batch) > 1:
            self._backlog.split()
            return
        error = sys.exception()
        self._backlog.leave_out(StoreUnavailable(f"{type(error).__name__}: the entry cannot be written"))
        self.results["failed"] += 1
        reason = str(error).partition("\n")[0]  # behind it a database may quote the entry, and so what was asked
        log.error("an audit entry could not be written, and is left out: %s: %s", type(error).__name__, reason)

    def _recover(self) -> None:
        if self.failure is not None and self.is_tried.is_set():
            log.warning("the audit is written again")
        self.failure = None
        self.losses.is_back()
        self.is_tried.set()

    def _fail(self, error: StoreUnavailable) -> None:
        is_new = self.failure is None or not self.is_tried.is_set()
        self.failure = str(error)
        if is_new:
            log.error("the audit cannot be written, and is tried again every second: %s", error)
        self.is_outdated = isinstance(error, StoreTooNew)
        self._is_open = False
        self._backlog.give_back(error)
        self.is_tried.set()

    def _pause(self, error: StoreUnavailable) -> None:
        """Until it is time to try again; an intent that slipped in is refused at once."""
        until = time.monotonic() + self._settings.again_seconds
        while not self._is_leaving and (left := until - time.monotonic()) > 0:
            if self._backlog.pause(left):
                self._backlog.give_back(error)

    def _mark(self) -> None:
        """A checkpoint, where there is anything new."""
        self._due[self._mark] = time.monotonic() + CHECKPOINT_SECONDS
        if self._link.sequence != self._marks.sequence and self.key is not None:
            self._marks.checkpoint(self._store, self.key, self._link)
            soon = time.monotonic() + RETENTION_AGAIN_SECONDS  # a segment more: one may go
            self._due[self._retain] = min(self._due[self._retain], soon)

    def _check(self) -> None:
        self._due[self._check] = time.monotonic() + CHECK_SECONDS
        self._store.check()

    def _sign_of_life(self) -> None:
        self._due[self._sign_of_life] = time.monotonic() + HEARTBEAT_SECONDS
        if self._settings.signs_of_life:
            self._store.heartbeat(self._settings.writer)

    def _sweep(self) -> None:
        """Closes the intents of gateways that are dead, each once."""
        self._due[self._sweep] = time.monotonic() + SWEEP_SECONDS
        lost = self._store.lost_intents(self._settings.writer)
        if lost:
            log.warning("%d requests of gateways that are gone end as gateway_lost", len(lost))
        waiting = self._backlog.intents()  # one that is closed already, only not yet written
        for intent in lost:
            if intent.intent not in waiting:
                self._backlog.put(lost_end(intent, self._settings.clock()))

    def _retain(self) -> None:
        settings = self._settings
        assert self.key is not None, "a store is open once the key is read"
        old_ns = settings.clock() - int(settings.keep_seconds * 1e9)
        removed = self._store.remove(old_ns, settings.max_bytes, self.key)
        self._due[self._retain] = time.monotonic() + (RETENTION_AGAIN_SECONDS if removed else RETENTION_SECONDS)
