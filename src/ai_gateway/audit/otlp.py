"""Entries as OpenTelemetry's log records, for a collector. The gateway cannot read them back.

The exporter is `telemetry`'s and comes in as `send`: a moment in Unix nanoseconds, a trace id and attributes for each
record; it blocks, and says whether the collector has taken them. A batch may be sent again of which the collector has
some records already: writer and sequence tell.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from ai_gateway.audit.chain import Checkpoint, canonical
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.store import StoreUnavailable, WriteOnlyStore

Value = str | int | bool
LogRecord = tuple[int, str, Mapping[str, Value]]
MOST_BYTES = 1 << 20  # of one message, by their size as JSON; collectors take 4 MiB or more

_NO_TRACE = "0" * 32


class OtlpStore(WriteOnlyStore):
    """What `send` reaches; `end` is called once, when no more is sent."""

    def __init__(self, send: Callable[[Sequence[LogRecord]], bool], end: Callable[[], None]) -> None:
        self._send = send
        self._end = end

    def open(self) -> None:
        """Connections are made when something is sent."""

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """Taken by the collector on return."""
        for records in _messages(entries, hashes):
            self._hand_over(records)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A record of its own."""
        attributes = {f"checkpoint.{name}": value for name, value in msgspec.structs.asdict(checkpoint).items()}
        self._hand_over([(checkpoint.at_ns, _NO_TRACE, attributes)])

    def close(self) -> None:
        """Ends the exporter."""
        self._end()

    def _hand_over(self, records: Sequence[LogRecord]) -> None:
        if not self._send(records):
            raise StoreUnavailable("the collector did not take the audit's entries")


def _messages(entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> Iterator[list[LogRecord]]:
    records: list[LogRecord] = []
    held = 0
    for entry, digest in zip(entries, hashes, strict=True):
        size = len(canonical(entry))
        if records and held + size > MOST_BYTES:
            yield records
            records, held = [], 0
        given = {name: value for name, value in msgspec.structs.asdict(entry).items() if value is not None}
        records.append((entry.at_ns, entry.trace_id, {**given, "hash": digest.hex()}))
        held += size
    if records:
        yield records
