"""Which store a config means, and where it lies. A store's code is loaded where it is chosen."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.key import put_back, read_key, read_or_make_key
from ai_gateway.audit.store import Archive, Store, StoreUnavailable, WriteOnlyStore
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.reading import read_text

if TYPE_CHECKING:
    from ai_gateway.audit.otlp import LogRecord

log = logging.getLogger("ai_gateway.audit")

FOLDER: Final = "ai-gateway-ollama"
_FILES: Final = {"sqlite": "audit.db", "jsonl": "audit.jsonl"}

SPOOL: Final = "audit-spool"

Environment = Mapping[str, str]


class Collector(NamedTuple):
    """Where log records go: `send` says whether they were taken, `end` comes last. Both block."""

    send: "Callable[[Sequence[LogRecord]], bool]"
    end: Callable[[], None]


class StorePair(NamedTuple):
    """The two sides of a store; None where it cannot be read. `bytes_waiting`: before a store that may be away."""

    store: Store
    archive: Archive | None
    bytes_waiting: Callable[[], int] | None = None


class UnavailableStore(WriteOnlyStore):
    """Stands for a store that cannot be: each call says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def open(self) -> None:
        """Raises StoreUnavailable, always."""
        raise StoreUnavailable(self._reason)

    def write(self, entries: Sequence[AuditEntry], hashes: Sequence[bytes]) -> None:
        """As `open`, without which nothing is written."""
        self.open()

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """As `open`."""
        self.open()

    def close(self) -> None:
        """Nothing was opened."""


def path_of(audit: AuditSection, environment: Environment) -> Path | None:
    """The file of the store: as configured, else in the user's state directory; None where there is none."""
    if audit.path is not None:
        return Path(audit.path)
    folder = state_folder(environment)
    return None if folder is None else folder / _FILES.get(audit.store, "audit")


def state_folder(environment: Environment) -> Path | None:
    """The gateway's own (XDG Base Directory Specification: relative paths are ignored)."""
    for name, below in (("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        value = environment.get(name, "")
        if value.startswith("/"):
            return Path(value) / below / FOLDER
    return None


def _without_place(key: str) -> StorePair:
    reason = f"there is no state directory (HOME and XDG_STATE_HOME are not set); set {key}"
    return StorePair(UnavailableStore(reason), None)


def _sqlite(audit: AuditSection, environment: Environment) -> StorePair:
    path = path_of(audit, environment)
    if path is None:
        return _without_place("audit.path")
    from ai_gateway.audit.sqlite import SqliteStore
    from ai_gateway.audit.sqlite_archive import SqliteArchive

    return StorePair(SqliteStore(path, audit.mode != "best_effort", time.time_ns), SqliteArchive(path))


def _json_lines(audit: AuditSection, environment: Environment) -> StorePair:
    from ai_gateway.audit.json_lines import JsonLinesStore

    path = None if audit.path == "stdout" else path_of(audit, environment)
    return StorePair(JsonLinesStore(path, audit.mode != "best_effort"), None)


def _postgresql(audit: AuditSection, environment: Environment) -> StorePair:
    from ai_gateway.audit.postgresql import PostgresqlStore
    from ai_gateway.audit.postgresql_archive import PostgresqlArchive
    from ai_gateway.audit.spool import Spool
    from ai_gateway.audit.spooled import Spooled

    folder = spool_of(audit, environment)
    if folder is None:
        return _without_place("audit.spool")

    def dsn() -> str:
        return audit.dsn or read_text(Path(audit.dsn_file or ""))

    store = Spooled(PostgresqlStore(dsn, time.time_ns), Spool(folder, audit.spool_size), time.monotonic)
    return StorePair(store, PostgresqlArchive(dsn), lambda: store.bytes_waiting)


def spool_of(audit: AuditSection, environment: Environment) -> Path | None:
    """The folder of entries that wait for PostgreSQL; None where there is no place for one."""
    if audit.spool is not None:
        return Path(audit.spool)
    folder = state_folder(environment)
    return None if folder is None else folder / SPOOL


STORES: Final[dict[str, Callable[[AuditSection, Environment], StorePair]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "jsonl": _json_lines,
}


def store_pair(
    audit: AuditSection, environment: Environment, collector: Callable[[Environment], Collector] | None = None
) -> StorePair:
    """The store of a config, not opened yet. `collector` makes one where the entries go there."""
    if audit.store == "otlp" and collector is not None:
        from ai_gateway.audit.otlp import OtlpStore

        try:
            return StorePair(OtlpStore(*collector(environment)), None)
        except ValueError as error:
            return StorePair(UnavailableStore(str(error)), None)
    make = STORES.get(audit.store)
    if make is None:
        return StorePair(UnavailableStore(f"this gateway has no store {audit.store}"), None)
    return make(audit, environment)


def key_path(audit: AuditSection, environment: Environment) -> Path | None:
    """Where the key of the chain lies: in the configured file, else beside the store."""
    if audit.key_file is not None:
        return Path(audit.key_file)
    path = None if audit.path == "stdout" else path_of(audit, environment)
    return None if path is None else path.with_name(path.name + ".key")


def key_of(audit: AuditSection, environment: Environment) -> bytes:
    """The key of the chain: the configured one, else one that is made beside the store. Raises OSError."""
    path = key_path(audit, environment)
    if path is None:
        raise OSError("there is no place for one; set audit.key_file")
    return read_key(path) if audit.key_file is not None else read_or_make_key(path)


def restored(audit: AuditSection, environment: Environment) -> Callable[[bytes], None] | None:
    """Puts the key back beside the store, if it was made there; a failure is logged."""
    path = None if audit.key_file is not None else key_path(audit, environment)
    if path is None:
        return None

    def restore(key: bytes) -> None:
        try:
            put_back(path, key)
        except OSError as error:
            log.error("the key of the audit is not in its place, keep a copy of the old one: %s", error)

    return restore
