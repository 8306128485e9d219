"""Entries for tests, and a chain that numbers them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ai_gateway.audit.chain import Checkpoint, Link, checkpoint
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.store import Store

KEY = b"a key for tests, and for them alone"
DAY_NS = 86_400 * 10**9
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2  # 2024-10-04

_USUAL: dict[str, Any] = {
    "writer": "",
    "sequence": 0,
    "kind": "end",
    "at_ns": NOON_NS,
    "started_ns": NOON_NS - 10**9,
    "request_id": "request",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "actor": "anonymous",
    "auth_method": "none",
    "client_address": "10.0.0.9",
    "method": "POST",
    "route": "/v1/chat/completions",
    "outcome": "ok",
    "stream": True,
    "attempts": 1,
    "bytes_in": 100,
    "bytes_out": 2000,
    "status": 200,
}


def entry(**fields: Any) -> AuditEntry:
    """An end of a usual request, but for what is given."""
    return AuditEntry(**{**_USUAL, **fields})


def intent(name: str, **fields: Any) -> AuditEntry:
    """Says that the request with this name is about to be dispatched."""
    return entry(**{"kind": "intent", "intent": name, "request_id": name, "status": None, **fields})


def end(name: str, **fields: Any) -> AuditEntry:
    """The end of a request with an intent of this name."""
    return entry(**{"intent": name, "request_id": name, **fields})


class Chain:
    """Numbers and chains what one writer writes."""

    def __init__(self, writer: str = "gateway/1") -> None:
        self.writer = writer
        self.link = Link(KEY)

    def numbered(self, entries: Sequence[AuditEntry]) -> tuple[list[AuditEntry], list[bytes]]:
        """The entries in their final form, and their hashes."""
        first = self.link.sequence + 1
        made = [
            msgspec.structs.replace(one, writer=self.writer, sequence=number)
            for number, one in enumerate(entries, first)
        ]
        return made, self.link.join(made)

    def write(self, store: Store, *entries: AuditEntry) -> list[AuditEntry]:
        """Writes them; as they were written. What was refused has not been there."""
        before = (self.link.sequence, self.link.last_hash)
        made, hashes = self.numbered(entries)
        try:
            store.write(made, hashes)
        except BaseException:
            self.link.back_to(*before)
            raise
        return made

    def checkpoint(self, at_ns: int) -> Checkpoint:
        """Of its end."""
        return checkpoint(KEY, "checkpoint", (self.writer, self.link.sequence, self.link.last_hash), at_ns)
