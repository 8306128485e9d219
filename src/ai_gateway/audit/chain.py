"""The keyed hash chain of each writer: what makes an edited, missing or cut-off entry visible.

    hash(n) = HMAC-SHA256(key, hash(n - 1) + canonical bytes of entry n)        hash(0) is 32 zero bytes

The canonical bytes are the entry as JSON in the order of its fields, None left out. Whoever holds the key can write
another chain; the checkpoints in a second place show that, and that a tail was cut off.
"""

import hmac
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, Literal, NamedTuple

import msgspec

from ai_gateway.audit.entry import Entry

FIRST: Final = bytes(32)  # what the first entry of a writer is chained to
LOOK_AHEAD: Final = 1000  # entries among which one that was moved is looked for

CheckpointKind = Literal["checkpoint", "removed"]
Wrong = Literal["edited", "missing", "reordered", "inserted", "cut off", "forged"]

canonical: Final = msgspec.json.Encoder().encode


class Checkpoint(msgspec.Struct, frozen=True):
    """A writer's chain at one of its entries. `removed`: all up to it was removed, as `audit.keep` wants it.

    `hash` and `seal` are lower-case hex, so that a checkpoint is a line of JSON; the seal shows who made it.
    """

    kind: CheckpointKind
    writer: str
    sequence: int
    hash: str
    at_ns: int
    seal: str


class Fault(NamedTuple):
    """The first entry of a writer with which something is wrong."""

    writer: str
    sequence: int
    what: Wrong


class Link:
    """The end of one writer's chain. Changed by `join`, which `back_to` takes back."""

    def __init__(self, key: bytes, sequence: int = 0, last_hash: bytes = FIRST) -> None:
        self._key = key
        self.sequence = sequence
        self.last_hash = last_hash

    def join(self, entries: Iterable[Entry]) -> list[bytes]:
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


def link(key: bytes, previous: bytes, entry: Entry) -> bytes:
    """The hash of an entry behind the one with this hash."""
    return hmac.digest(key, previous + canonical(entry), "sha256")


def checkpoint(key: bytes, kind: CheckpointKind, at: tuple[str, int, bytes], at_ns: int) -> Checkpoint:
    """A sealed checkpoint at an entry: its writer, sequence and hash."""
    writer, sequence, last_hash = at
    made = Checkpoint(kind, writer, sequence, last_hash.hex(), at_ns, "")
    return msgspec.structs.replace(made, seal=_seal(key, made))


def verify(entries: Iterable[tuple[Entry, bytes]], checkpoints: Iterable[Checkpoint], key: bytes) -> Iterator[Fault]:
    """The first bad entry of each writer that has one.

    Entries come with their hashes, ordered by writer and sequence; checkpoints in any order.
    """
    known: dict[str, list[Checkpoint]] = {}
    for told in checkpoints:
        if not hmac.compare_digest(told.seal, _seal(key, told)):
            yield Fault(told.writer, told.sequence, "forged")
        else:
            known.setdefault(told.writer, []).append(told)
    for writer, chain in groupby(entries, key=lambda pair: pair[0].writer):
        fault = _first_fault(writer, chain, known.pop(writer, []), key)
        if fault is not None:
            yield fault
    for writer, told_of in known.items():
        fault = _first_fault(writer, iter(()), told_of, key)
        if fault is not None:
            yield fault


def _seal(key: bytes, told: Checkpoint) -> str:
    text = f"{told.kind}\n{told.writer}\n{told.sequence}\n{told.hash}\n{told.at_ns}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def _first_fault(
    writer: str, chain: Iterator[tuple[Entry, bytes]], checkpoints: list[Checkpoint], key: bytes
) -> Fault | None:
    """Checkpoints within the chain must have its hashes; behind its end they say that it was longer."""
    sequence, previous = 0, FIRST
    removed = max(
        (told for told in checkpoints if told.kind == "removed"), default=None, key=lambda told: told.sequence
    )
    if removed is not None:
        sequence, previous = removed.sequence, bytes.fromhex(removed.hash)
    told_hashes = {told.sequence: told.hash for told in checkpoints if told.sequence > sequence}
    for entry, stored in chain:
        if entry.sequence != sequence + 1:
            return Fault(writer, sequence + 1, "missing" if entry.sequence > sequence + 1 else "inserted")
        if not hmac.compare_digest(link(key, previous, entry), stored):
            return Fault(writer, entry.sequence, _edited_or_moved(entry, chain, previous, key))
        sequence, previous = entry.sequence, stored
        told_hash = told_hashes.pop(sequence, None)
        if told_hash is not None and told_hash != stored.hex():
            return Fault(writer, sequence, "edited")
    return Fault(writer, sequence + 1, "cut off") if told_hashes else None


def _edited_or_moved(entry: Entry, rest: Iterator[tuple[Entry, bytes]], previous: bytes, key: bytes) -> Wrong:
    """Whether one of the entries that follow belongs here, as its hash says."""
    for _, (later, stored) in zip(range(LOOK_AHEAD), rest, strict=False):
        here = msgspec.structs.replace(later, sequence=entry.sequence)
        if hmac.compare_digest(link(key, previous, here), stored):
            return "reordered"
    return "edited"
