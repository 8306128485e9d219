"""Entries for tests, and a store with some in it."""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_gateway.audit.chain import Link
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_archive import SqliteArchive

KEY = b"a key of thirty-two bytes or more"
WRITER = "here/1"
START_NS = 1_700_000_000 * 10**9

_USUAL: dict[str, Any] = {
    "writer": WRITER,
    "sequence": 1,
    "kind": "end",
    "at_ns": START_NS,
    "started_ns": START_NS,
    "request_id": "r1",
    "trace_id": "0" * 32,
    "actor": "anonymous",
    "auth_method": "none",
    "client_address": "192.0.2.1",
    "method": "POST",
    "route": "/v1/chat/completions",
    "outcome": "ok",
    "stream": False,
    "attempts": 1,
    "bytes_in": 10,
    "bytes_out": 20,
    "status": 200,
}


def entry(sequence: int = 1, **fields: Any) -> AuditEntry:
    """An entry; its time follows from its sequence."""
    at_ns = START_NS + sequence * 10**6
    return AuditEntry(**{**_USUAL, "sequence": sequence, "request_id": f"r{sequence}", "at_ns": at_ns, **fields})


def mixed(count: int, seed: int = 1) -> list[AuditEntry]:
    """Entries that differ in everything that can be filtered by."""
    rng = random.Random(seed)
    return [
        entry(
            sequence,
            actor=f"caller-{rng.randrange(20)}",
            tenant=rng.choice((None, "team-a", "team-b")),
            model_asked=rng.choice((None, "llama3", "coder", "embed")),
            model_served="llama3:latest",
            status=rng.choice((200, 200, 200, 404, 503)),
            outcome=rng.choice(("ok", "ok", "ok", "refused", "shed")),
            stream=rng.random() < 0.5,
            tokens_in=rng.randrange(100),
            tokens_out=rng.randrange(100),
            reason=rng.choice((None, "warm", 'it said "no", twice\nand\u2028more')),
        )
        for sequence in range(1, count + 1)
    ]


def store(path: Path, is_synced: bool = False, clock: Any = time.time_ns) -> SqliteStore:
    """An open store."""
    made = SqliteStore(path, is_synced, clock)
    made.open()
    return made


def archive(path: Path) -> SqliteArchive:
    """An open archive."""
    made = SqliteArchive(path)
    made.open()
    return made


def fill(path: Path, entries: Sequence[AuditEntry], key: bytes = KEY) -> list[bytes]:
    """A store with these entries, chained; returns their hashes."""
    made = store(path)
    hashes = Link(key).join(entries)
    for begin in range(0, len(entries), 500):
        made.write(entries[begin : begin + 500], hashes[begin : begin + 500])
    made.close()
    return hashes
