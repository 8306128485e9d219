"""A store that may be away: what it cannot take waits in a spool, in order, and goes to it first when it is back."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.spool import Spool
from ai_gateway.audit.store import Store, StoreLost, StoreTooNew, StoreUnavailable, StoreUnsure

log = logging.getLogger("ai_gateway.audit")

FIRST_PAUSE_SECONDS: Final = 0.5  # until the store is tried again; doubled each time
LONGEST_PAUSE_SECONDS: Final = 10.0  # signs of life may then be 20 s apart; a writer is dead after 60
DRAIN_SECONDS: Final = 0.25  # of a write; new entries wait behind it
CALM_DRAIN_SECONDS: Final = 2.0  # of a sign of life
AT_ONCE: Final = 500
MOST_CHECKPOINTS: Final = 100

T = TypeVar("T")


class SpoolableStore(Store, Protocol):
    """A store that several gateways share."""

    def write_spooled(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """As `write`, for entries whose numbers are fixed: what is there already is not written again, and an end whose
        intent another gateway has closed is kept and not listed. Raises no IntentsGone."""


class Spooled:
    """`store` with a `spool` before it. `clock` is in monotonic seconds.

    A store that is away is no failure: only a spool that is full or broken is, and a store that is too new.
    """

    def __init__(self, store: SpoolableStore, spool: Spool, clock: Callable[[], float]) -> None:
        self._store = store
        self._spool = spool
        self._clock = clock
        self._is_open = False  # the store; its tables are as they should be
        self._pause_seconds = 0.0
        self._failed_at = 0.0
        self._checkpoints: deque[Checkpoint] = deque(maxlen=MOST_CHECKPOINTS)

    @property
    def bytes_waiting(self) -> int:
        """Of entries in the spool."""
        return self._spool.bytes_held

    @property
    def is_away(self) -> bool:
        """Whether the store could not be reached when it was last called."""
        return self._pause_seconds > 0

    def check(self) -> None:
        """The spool; the store checks itself with each write and each sign of life."""
        self._spool.check()

    def begin_anew(self) -> None:
        """Both; entries that wait in what is left of the spool go on waiting."""
        self._spool.begin_anew()
        self._store.begin_anew()
        self._pause_seconds = 0.0

    def open(self) -> None:
        """The spool at least; a store that is away is opened when it is back. Raises StoreLost as `check`."""
        if not self._spool.is_open:
            self._spool.open()
        self._spool.check()
        self._is_open = False
        self._ask(self._reach, None)

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """To the store if it is there and nothing waits before them, else into the spool."""
        is_unsure = False
        if self._is_drained(DRAIN_SECONDS):
            try:
                self._noticing(partial(self._store.write, entries, hashes))
                return
            except StoreLost:
                raise
            except StoreUnavailable as error:
                is_unsure = isinstance(error, StoreUnsure)
        # What the store may have must keep its place in the chain, so it is never refused.
        try:
            self._spool.append(entries, hashes, may_exceed=is_unsure)
        except StoreUnavailable as error:
            if is_unsure:
                raise StoreUnsure(str(error)) from error
            raise

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Behind the entries that wait; it is in its second place in any case."""
        self._checkpoints.append(checkpoint)
        self._is_drained(DRAIN_SECONDS)

    def heartbeat(self, writer: str) -> None:
        """Comes behind what an earlier process left: until that is there, its intents must not count as lost."""
        self._ask(partial(self._sign_of_life, writer), None)

    def lost_intents(self, writer: str) -> Sequence[AuditEntry]:
        """None while ends may wait in the spool."""
        return self._behind_spool(partial(self._store.lost_intents, writer), ())

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """What the store removes."""
        return self._behind_spool(partial(self._store.remove, before_ns, max_bytes, key), 0)

    def close(self) -> None:
        """Tries once more to hand over; what is left waits for the next start."""
        self._pause_seconds = 0.0
        with suppress(StoreUnavailable):
            self._is_drained(CALM_DRAIN_SECONDS)
        self._store.close()
        self._spool.close()

    def _sign_of_life(self, writer: str) -> None:
        while not self._is_drained(CALM_DRAIN_SECONDS) and self._begins_with_another(writer):
            if self.is_away:
                return
        self._ask(partial(self._noticing, partial(self._store.heartbeat, writer)), None)

    def _begins_with_another(self, writer: str) -> bool:
        entries = self._spool.peek(1).entries
        return bool(entries) and entries[0].writer != writer

    def _reach(self) -> None:
        if not self._is_open:
            self._noticing(self._store.open)
            self._is_open = True

    def _is_drained(self, seconds: float) -> bool:
        """Whether the store is there and has all that waited. Takes so long at most, where there is more to do."""
        return self._ask(partial(self._drain, seconds), False)

    def _drain(self, seconds: float) -> bool:
        self._reach()
        until = self._clock() + seconds
        while (next_ones := self._spool.peek(AT_ONCE)).entries:
            self._hand_over(next_ones.entries, next_ones.hashes)
            self._spool.take(next_ones)
            if self._clock() >= until:
                break
        if not self._spool.is_empty:
            return False
        while self._checkpoints:
            self._noticing(partial(self._store.write_checkpoint, self._checkpoints[0]))
            self._checkpoints.popleft()
        return True

    def _hand_over(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """What cannot be written for what it is must not stand in the way of the rest; the chain shows the gap."""
        try:
            self._noticing(partial(self._store.write_spooled, entries, hashes))
        except StoreUnavailable:
            raise
        except Exception:
            if len(entries) == 1:
                log.exception("an audit entry of the spool could not be written, and is left out")
                return
            for entry, digest in zip(entries, hashes, strict=True):
                self._hand_over([entry], [digest])

    def _behind_spool(self, ask: Callable[[], T], otherwise: T) -> T:
        """The store's answer once it has all that waited, else `otherwise`."""
        if not self._is_drained(DRAIN_SECONDS):
            return otherwise
        return self._ask(partial(self._noticing, ask), otherwise)

    def _ask(self, ask: Callable[[], T], otherwise: T) -> T:
        """The store's answer, else `otherwise`: it is not called before its pause is over. Raises StoreTooNew."""
        if self._clock() - self._failed_at < self._pause_seconds:
            return otherwise
        try:
            return ask()
        except (StoreTooNew, StoreLost):
            raise
        except StoreUnavailable:
            return otherwise

    def _noticing(self, ask: Callable[[], T]) -> T:
        """Calls the store, and remembers whether it was there."""
        try:
            answer = ask()
        except StoreLost:
            self._is_open = False
            raise
        except StoreUnavailable as error:
            self._begin_pause(error)
            raise
        if self.is_away:
            self._pause_seconds = 0.0
            log.warning("the audit's store is back; %d bytes wait in the spool", self.bytes_waiting)
        return answer

    def _begin_pause(self, error: StoreUnavailable) -> None:
        if not self.is_away:
            log.error("the audit's store is away, entries wait in the spool: %s", error)
        longer = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)
        self._pause_seconds = longer or FIRST_PAUSE_SECONDS
        self._failed_at = self._clock()
        self._is_open = False  # when it is back its tables may not be there any more
