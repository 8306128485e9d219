"""Everything that can be found wrong with an audit, in one walk over it and with little memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from ai_gateway.audit.chain import Checkpoint, Finding, Row, is_sealed, verify
from ai_gateway.audit.damage import Damaged
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.store import Archive, StoreDamaged, StoreTooNew, StoreUnavailable, open_intents

MOST_FINDINGS: Final = 1000
MOST_OPEN: Final = 100_000  # intents without an end at one time; gateways refuse calls long before
# Retention takes ends, and intents with them, by runs of about a minute: near its edge an end may be gone alone.
EDGE_NS: Final = 120 * 10**9


class VerifyResult(msgspec.Struct):
    """What was found, and what was read. `store` are sentences about the store itself."""

    store: list[str] = []
    findings: list[Finding] = []
    is_cut: bool = False  # there are more findings than these
    entries: int = 0
    writers: int = 0
    checkpoints: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.store and not self.findings


def examine(archive: Archive, elsewhere: Iterable[Checkpoint], key: bytes) -> VerifyResult:
    """Reads all of a store, with the checkpoints of a second place. Raises StoreUnavailable."""
    result = VerifyResult()
    try:
        with archive.unchanging():
            result.store += archive.reasons()
            checkpoints = (*_sealed_first(archive.checkpoints(), key, result), *elsewhere)
            result.checkpoints = len(checkpoints)
            intents = _Intents(made for made in checkpoints if made.kind != "checkpoint" and is_sealed(key, made))
            found = verify(_walked(result, archive, intents), checkpoints, key)
            _note_all(result, chain(found, intents.findings(archive)))
    except StoreUnavailable as error:
        # Without a table that is gone nothing goes on; that it is gone is reported.
        if isinstance(error, StoreTooNew) or not (result.store or isinstance(error, StoreDamaged)):
            raise
        result.store.append(str(error))
    return result


def without_store(elsewhere: Sequence[Checkpoint], key: bytes, reason: str) -> VerifyResult:
    """Where nothing is left but the second place: what was checkpointed there is cut off."""
    result = VerifyResult(store=[reason], checkpoints=len(elsewhere))
    _note_all(result, verify((), elsewhere, key))
    return result


def _note_all(result: VerifyResult, findings: Iterable[Finding]) -> None:
    for finding in findings:
        if not _note(result, finding):
            return


def _note(result: VerifyResult, finding: Finding) -> bool:
    """Whether there is room for more."""
    result.is_cut = len(result.findings) >= MOST_FINDINGS
    if not result.is_cut:
        result.findings.append(finding)
    return not result.is_cut


def _sealed_first(checkpoints: Iterator[Checkpoint], key: bytes, result: VerifyResult) -> Iterator[Checkpoint]:
    """Those without a seal are findings; somebody who can write to a store can put in any number of them."""
    for made in checkpoints:
        if is_sealed(key, made):
            yield made
        elif not _note(result, Finding(made.writer, made.sequence, "forged")):
            return


def _walked(result: VerifyResult, archive: Archive, intents: "_Intents") -> Iterator[Row]:
    last = None
    for row in archive.chain():
        result.entries += 1
        if row[0].writer != last:
            last = row[0].writer
            result.writers += 1
        if not isinstance(row[0], Damaged):
            intents.add(row[0])
        yield row


class _Intents:
    """Every intent of the chain has an end, or is open still: without its open intent an end would never be
    written. Changed as entries pass by."""

    def __init__(self, removed: Iterable[Checkpoint]) -> None:
        """`removed` say, with a seal, that what stood before them is gone."""
        self._open: dict[str, tuple[str, int, int]] = {}  # writer, sequence and moment by id
        self._closed_early: set[str] = set()  # by another writer, whose entries came first
        self._first_end_ns: int | None = None  # of what retention has left
        self._removed: dict[str, int] = {}
        self._is_full = False
        for made in removed:
            self._removed[made.writer] = max(made.sequence, self._removed.get(made.writer, 0))

    def add(self, entry: AuditEntry) -> None:
        """The next one of the walk."""
        if self._is_full:
            return
        if entry.kind == "end" and (self._first_end_ns is None or entry.at_ns < self._first_end_ns):
            self._first_end_ns = entry.at_ns
        if entry.intent is None:
            return
        if entry.kind == "intent":
            if entry.intent in self._closed_early:
                self._closed_early.discard(entry.intent)
            else:
                self._open[entry.intent] = (entry.writer, entry.sequence, entry.at_ns)
        elif self._open.pop(entry.intent, None) is None and entry.outcome == "gateway_lost":
            self._closed_early.add(entry.intent)
        self._is_full = len(self._open) + len(self._closed_early) > MOST_OPEN

    def findings(self, archive: Archive) -> Iterator[Finding]:
        """Behind the walk: what the table of open intents lacks, and what it has too much."""
        if self._is_full:
            yield Finding("*", 0, "unended", f"more than {MOST_OPEN} intents have no end; they were not checked")
            return
        for row in archive.open_intents():
            entry = next(iter(open_intents([row.content])), None)
            place = self._open.pop(row.id, None)
            if place is not None:
                if entry is None or (entry.writer, entry.sequence, row.writer) != (*place[:2], place[0]):
                    yield Finding(*place[:2], "unended", "its open intent was changed")
            elif entry is None:
                yield Finding(row.writer, 0, "inserted", "an open intent that cannot be read")
            elif entry.sequence > self._removed.get(entry.writer, 0):
                yield Finding(entry.writer, entry.sequence, "inserted", "an open intent that no chain has")
        for writer, sequence, at_ns in self._open.values():
            if not self._may_be_removed(at_ns):
                detail = "its intent has no end and is not open: it was taken away, or its end was"
                yield Finding(writer, sequence, "unended", detail)

    def _may_be_removed(self, at_ns: int) -> bool:
        """Whether its end may have gone as configured."""
        if not self._removed:
            return False
        return self._first_end_ns is None or at_ns < self._first_end_ns + EDGE_NS
