"""Where entries are kept. One writer thread has a Store, one reader thread an Archive; both block.

`sqlite` and `postgresql` implement both. Where an instance is made nothing is opened: `open` does that, in the thread
that uses it, and may be called again after a failure.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from ai_gateway.audit.chain import Checkpoint, Row
from ai_gateway.audit.damage import Damaged
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.wire.unreadable import UNREADABLE

log = logging.getLogger("ai_gateway.audit")

MAX_LIMIT: Final = 1000
USUAL_LIMIT: Final = 100
MOST_INTENTS: Final = 5000  # open ones that are read for the usage of a day
SILENT_SECONDS: Final = 60.0  # a writer that has given no sign of life for so long is dead
# No call takes more, in or out: what an entry of an older gateway may say, which took any count from Ollama.
MOST_TOKENS: Final = 10_000_000
REPLACED_SECONDS: Final = 30.0  # the same where its NAME has a younger BOOT: three signs of life that did not come

_decode: Final = msgspec.json.Decoder(AuditEntry).decode


class StoreUnavailable(Exception):
    """Nothing can be written or read now; it may be tried again. The message is for operators."""


class StoreTooNew(StoreUnavailable):
    """A newer version made this store such that this one cannot write to it."""


class StoreUnsure(StoreUnavailable):
    """Word of a commit did not come: what was to be written may be there or not."""


class StoreLost(StoreUnavailable):
    """What was stored is not there any more; the message says what became of it.

    `open` goes on to raise it until everything is back, or `begin_anew` was called.
    """


class StoreDamaged(StoreLost):
    """What is there cannot be read: it was written over."""


class ChainForked(Exception):
    """The store has another entry of this writer in the place of one to be written; nothing was written.

    Its chain ends at `sequence` with `last_hash`: what is numbered behind that can be written.
    """

    def __init__(self, writer: str, sequence: int, last_hash: bytes) -> None:
        super().__init__(f"the store has other entries of {writer}, up to {sequence}, than are to be written now")
        self.sequence = sequence
        self.last_hash = last_hash


class IntentsGone(Exception):
    """Some of the ends to be written belong to intents that are closed already; nothing was written.

    Those in `again` are closed by the first of several ends in the same batch, which can be written.
    """

    def __init__(self, intents: frozenset[str], again: frozenset[str] = frozenset()) -> None:
        super().__init__(f"{len(intents | again)} intents are closed already")
        self.intents = intents
        self.again = again


class Position(msgspec.Struct, frozen=True, order=True):
    """The place of an entry in the order in which they are listed."""

    at_ns: int
    writer: str
    sequence: int


class Query(msgspec.Struct, frozen=True):
    """Which ends are wanted; None: any. `since_ns` is in, `until_ns` out. `after`: those that come behind it."""

    actor: str | None = None
    model: str | None = None  # as the client asked for it
    status: int | None = None
    outcome: str | None = None
    tenant: str | None = None
    request_id: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    limit: int = USUAL_LIMIT
    after: Position | None = None


class DayUsage(msgspec.Struct, frozen=True):
    """Tokens, in and out together, that someone used of one model, as limits were charged with them: those that Ollama
    counted, else those that the gateway did. A caller without a name has an address."""

    auth_method: str
    actor: str
    client_address: str  # "" where the actor has a name
    tenant: str | None
    model_asked: str
    tokens: int


class OpenIntent(msgspec.Struct, frozen=True):
    """An intent as it stands among the open ones; `content` is its JSON."""

    id: str
    writer: str
    content: str | bytes


def charged_by(intents: Iterable[AuditEntry], since_ns: int) -> list[DayUsage]:
    """What open intents hold of a day: a gateway that was killed will never say more."""
    found = []
    for one in intents:
        # An open intent may have been changed: no call holds more than MOST_TOKENS, nor less than nothing.
        tokens = max(0, min(one.tokens_counted or 0, MOST_TOKENS))
        if tokens and one.model_asked is not None and one.started_ns >= since_ns:
            address = one.client_address if one.auth_method == "none" else ""
            caller = (one.auth_method, one.actor, address, one.tenant, one.model_asked)
            found.append(DayUsage(*caller, tokens))
    return found


class Page(msgspec.Struct, frozen=True):
    """Ends, newest first: at_ns, then writer, then sequence, all descending.

    `next` is where to go on, None when there is no more. A page may hold fewer than its limit, or none, and still have
    a `next`: only so many entries are read for each. `damaged` are rows among them that are no entries.
    """

    entries: Sequence[AuditEntry]
    next: Position | None
    damaged: Sequence[Damaged] = ()


def open_intents(
    contents: Iterable[str | bytes], is_in_chain: Callable[[AuditEntry], bool] = lambda intent: True
) -> list[AuditEntry]:
    """Intents from their JSON. What is none is left out: a newer gateway wrote it, or it was changed.

    So is what no gateway wrote, as `is_in_chain` says: an end that is written for it stands in a chain, for good.
    """
    found = []
    for content in contents:
        try:
            entry = _decode(content)
        except (*UNREADABLE, TypeError, ValueError) as error:
            log.error("an open intent of the audit cannot be read, and stays open: %s", error)
            continue
        if entry.kind != "intent" or entry.intent is None:
            continue
        if is_in_chain(entry):
            found.append(entry)
        else:
            writer = entry.writer
            log.error("an open intent of %s was put there by no gateway, and stays open; see `audit verify`", writer)
    return found


class Store(Protocol):
    """The writing side. Every method raises StoreUnavailable where it cannot do what it says."""

    def open(self) -> None:
        """Makes or migrates what is needed, forward only. Raises StoreTooNew for what a newer version made, StoreLost
        where an earlier audit should be there and is not."""

    def check(self) -> None:
        """Whether what was stored is still there; costs next to nothing. Raises StoreLost."""

    def begin_anew(self) -> None:
        """What was lost is lost: `open` takes what is there, or makes it."""

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """Keeps entries with their hashes, all or none; durable on return. What is there already is not written again.

        An `intent` is open from then on, until an `end` with its id is written. Raises IntentsGone, with nothing
        written, where an end's intent is not open: another gateway closed it, or an end before it in the same batch;
        StoreLost where they, or those before them, are not there on return.
        """

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keeps a checkpoint."""

    def heartbeat(self, writer: str) -> None:
        """A sign of life of a writer, at the store's own time."""

    def lost_intents(self, writer: str) -> Sequence[AuditEntry]:
        """Open intents of writers that are dead for certain, at most 500; never of `writer` itself.

        A writer is dead if it gave no heartbeat for SILENT_SECONDS in which it could have been heard. In a store of
        many hosts, REPLACED_SECONDS are enough where its NAME has a younger BOOT. Where one gateway alone has a file,
        every other writer is dead.
        """

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """Removes old entries by whole segments; returns how many went.

        A segment is a run of a writer's entries up to a checkpoint. It goes when all of it is older than `before_ns`,
        or the oldest first while the store is larger than `max_bytes`. A `removed` checkpoint, sealed with the key,
        says where the chain begins from then on. Open intents stay.
        """

    def close(self) -> None:
        """Closes what was opened."""


class WriteOnlyStore:
    """The parts of a store that are nothing to do if entries go to a collector and cannot be read back."""

    def check(self) -> None:
        """What was taken is not here any more."""

    def begin_anew(self) -> None:
        """Nothing is kept here."""

    def heartbeat(self, writer: str) -> None:
        """Nothing could read it."""

    def lost_intents(self, writer: str) -> Sequence[AuditEntry]:
        """None: `strict` does not go with such a store."""
        return ()

    def remove(self, before_ns: int, max_bytes: int, key: bytes) -> int:
        """The collector removes entries."""
        return 0


class Archive(Protocol):
    """The reading side. Every method raises StoreUnavailable where it cannot do what it says."""

    def open(self) -> None:
        """Opens for reading; nothing is made or migrated."""

    def page(self, query: Query) -> Page:
        """A page of ends."""

    def unplaced(self) -> int:
        """How many rows have no writer, number or time, and are in no page."""

    def usage_of_day(self, day: str) -> Sequence[DayUsage]:
        """Tokens of calls that began and ended on a day (UTC, YYYY-MM-DD), and what those hold that have not ended."""

    def unchanging(self) -> AbstractContextManager[None]:
        """Within the block everything is read as it was at one moment."""

    def chain(self) -> Iterator[Row]:
        """All entries with their hashes, by writer and sequence, and rows that are none."""

    def checkpoints(self) -> Iterator[Checkpoint]:
        """All checkpoints that the store knows."""

    def open_intents(self) -> Iterator[OpenIntent]:
        """All of them."""

    def reasons(self) -> Iterator[str]:
        """What is wrong with the store itself: a table or index that is not as it was made, or a page."""

    def interrupt(self) -> None:
        """Ends a query that is running; may be called from another thread."""

    def close(self) -> None:
        """Closes what was opened."""
