"""The keyed hash chain of each writer: what makes an edited, missing or cut-off entry visible.

    hash(n) = HMAC-SHA256(key, hash(n - 1) + canonical bytes of entry n)        hash(0) is 32 zero bytes

The canonical bytes are the entry as JSON in the order of its fields, None left out. Somebody with the key can write
another chain; the checkpoints in a second place show that, and that a tail was cut off.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

import msgspec

from ai_gateway.audit.damage import Damaged, reason_of
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.wire.timestamp import timestamp
from ai_gateway.wire.unreadable import UNREADABLE

FIRST: Final = bytes(32)  # what the first entry of a writer is chained to
LOOK_AHEAD: Final = 1000  # entries among which one that was moved is searched

CheckpointKind = Literal["checkpoint", "removed", "lost"]
Wrong = Literal["edited", "missing", "reordered", "inserted", "cut off", "forged", "lost", "unended"]
Row = tuple[AuditEntry | Damaged, bytes]  # what a store holds, with its hash

canonical: Final = msgspec.json.Encoder().encode


class Checkpoint(msgspec.Struct, frozen=True):
    """A writer's chain at one of its entries. `removed`: all up to it was removed, as `audit.keep` wants it. `lost`:
    the gateway found that what was stored up to it was gone, and went on behind it.

    `hash` and `seal` are lower-case hex, so that a checkpoint is a line of JSON; the seal needs the key.
    """

    kind: CheckpointKind
    writer: str
    sequence: int
    hash: str
    at_ns: int
    seal: str


class Finding(NamedTuple):
    """The first entry of a writer with which something is wrong."""

    writer: str
    sequence: int
    what: Wrong
    detail: str = ""


class Link:
    """The end of one writer's chain. Changed by `join`, which `back_to` takes back."""

    def __init__(self, key: bytes, sequence: int = 0, last_hash: bytes = FIRST) -> None:
        self._key = key
        self.sequence = sequence
        self.last_hash = last_hash

    def join(self, entries: Iterable[AuditEntry]) -> list[bytes]:
        """The hashes of entries that follow, in their order; the last one's is the new end."""
        hashes = []
        for entry in entries:
            self.last_hash = link(self._key, self.last_hash, entry)
            self.sequence = entry.sequence
            hashes.append(self.last_hash)
        return hashes

    def back_to(self, sequence: int, last_hash: bytes) -> None:
        """What was joined since then was not written."""
        self.sequence = sequence
        self.last_hash = last_hash


def link(key: bytes, previous: bytes, entry: AuditEntry) -> bytes:
    """The hash of an entry behind the one with this hash."""
    return hmac.digest(key, previous + canonical(entry), "sha256")


def checkpoint(key: bytes, kind: CheckpointKind, at: tuple[str, int, bytes], at_ns: int) -> Checkpoint:
    """A sealed checkpoint at an entry: its writer, sequence and hash."""
    writer, sequence, last_hash = at
    made = Checkpoint(kind, writer, sequence, last_hash.hex(), at_ns, "")
    return msgspec.structs.replace(made, seal=_seal(key, made))


def read_checkpoint(row: Sequence[Any]) -> Checkpoint:
    """The checkpoint with these values, in the order of its fields; if they are none, one without a seal."""
    try:
        return msgspec.convert(dict(zip(Checkpoint.__struct_fields__, row, strict=True)), Checkpoint)
    except UNREADABLE:
        writer, sequence = row[1], row[2]
        name = writer if isinstance(writer, str) else ""
        return Checkpoint("checkpoint", name, sequence if isinstance(sequence, int) else 0, "", 0, "")


def is_sealed(key: bytes, made: Checkpoint) -> bool:
    """Whether a checkpoint was made with this key, as it stands."""
    try:
        is_hash = len(bytes.fromhex(made.hash)) in (0, len(FIRST))
        return is_hash and hmac.compare_digest(made.seal.encode(), _seal(key, made).encode())
    except ValueError:  # not hexadecimal, or not even UTF-8
        return False


def is_linked(key: bytes, previous: bytes, entry: AuditEntry, digest: bytes) -> bool:
    """Whether an entry with this hash stands behind the one with that hash."""
    return hmac.compare_digest(link(key, previous, entry), digest)


class _KnownCheckpoints:
    """What the checkpoints say of one writer: hashes by sequence."""

    def __init__(self) -> None:
        self.begins: tuple[int, bytes] | None = None  # all up to it was removed
        self.hashes: dict[int, bytes] = {}
        self.lost: dict[int, tuple[bytes, int]] = {}  # with the moment in Unix nanoseconds

    def add(self, made: Checkpoint) -> None:
        """One more."""
        digest = bytes.fromhex(made.hash)
        if made.kind == "removed":
            if self.begins is None or made.sequence > self.begins[0]:
                self.begins = (made.sequence, digest)
        elif made.kind == "lost":
            self.lost[made.sequence] = (digest, made.at_ns)
        else:
            self.hashes[made.sequence] = digest


def verify(entries: Iterable[Row], checkpoints: Iterable[Checkpoint], key: bytes) -> Iterator[Finding]:
    """The first bad entry of each writer that has one; what is known to be lost is reported beside it.

    Entries come with their hashes, ordered by writer and sequence; checkpoints in any order.
    """
    known: dict[str, _KnownCheckpoints] = {}
    for made in checkpoints:
        if is_sealed(key, made):
            known.setdefault(made.writer, _KnownCheckpoints()).add(made)
        else:
            yield Finding(made.writer, made.sequence, "forged")
    for writer, chain in groupby(entries, key=lambda pair: pair[0].writer):
        yield from _findings(writer, chain, known.pop(writer, _KnownCheckpoints()), key)
    for writer, without_entries in known.items():
        yield from _findings(writer, iter(()), without_entries, key)


def _seal(key: bytes, made: Checkpoint) -> str:
    text = f"{made.kind}\n{made.writer}\n{made.sequence}\n{made.hash}\n{made.at_ns}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def _findings(writer: str, chain: Iterator[Row], known: _KnownCheckpoints, key: bytes) -> Iterator[Finding]:
    """Checkpoints within the chain must have its hashes; behind its end they say that it was longer."""
    sequence, previous = known.begins or (0, FIRST)
    if 0 in known.lost and known.begins is None:
        yield _lost(writer, 0, known.lost[0][1], "another audit was there before this writer began, and was gone")
    for entry, stored in chain:
        if isinstance(entry, Damaged):
            yield Finding(writer, sequence + 1 if entry.sequence is None else entry.sequence, "edited", entry.reason)
            return
        if entry.sequence > sequence + 1 and entry.sequence - 1 in known.lost:
            digest, at_ns = known.lost[entry.sequence - 1]
            yield _lost(
                writer, sequence + 1, at_ns, f"the store was found without {sequence + 1} to {entry.sequence - 1}"
            )
            sequence, previous = entry.sequence - 1, digest
        if entry.sequence != sequence + 1:
            yield Finding(writer, sequence + 1, "missing" if entry.sequence > sequence + 1 else "inserted")
            return
        wrong = _wrong(entry, stored, previous, key)
        if wrong is not None:
            what = _edited_or_moved(entry, chain, previous, key) if not wrong else "edited"
            yield Finding(writer, entry.sequence, what, wrong)
            return
        sequence, previous = entry.sequence, stored
        if known.hashes and known.hashes.get(sequence, stored) != stored:
            yield Finding(writer, sequence, "edited")
            return
    if max(known.hashes, default=0) > sequence:
        yield Finding(writer, sequence + 1, "cut off")
    elif max(known.lost, default=0) > sequence:
        lost = max(known.lost)
        yield _lost(writer, sequence + 1, known.lost[lost][1], f"the store was found without {sequence + 1} to {lost}")


def _lost(writer: str, sequence: int, at_ns: int, what: str) -> Finding:
    return Finding(writer, sequence, "lost", f"{what} at {timestamp(at_ns)}")


def _wrong(entry: AuditEntry, stored: bytes, previous: bytes, key: bytes) -> str | None:
    """What is wrong with an entry, "" where its hash alone says so; None where nothing is."""
    try:
        return None if is_linked(key, previous, entry, stored) else ""
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError) as error:
        return reason_of(entry) or str(error)


def _edited_or_moved(entry: AuditEntry, rest: Iterator[Row], previous: bytes, key: bytes) -> Wrong:
    """Whether one of the entries that follow belongs here, as its hash says."""
    for _, (later, stored) in zip(range(LOOK_AHEAD), rest, strict=False):
        if isinstance(later, Damaged):
            continue
        here = msgspec.structs.replace(later, sequence=entry.sequence)
        if _wrong(here, stored, previous, key) is None:
            return "reordered"
    return "edited"
