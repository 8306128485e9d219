"""Every store that can be asked, with what its tests do to it from outside."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
from tests.audit.writing import DAY_NS, NOON_NS

from ai_gateway.audit.postgresql import PostgresqlStore
from ai_gateway.audit.postgresql_archive import PostgresqlArchive
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_archive import SqliteArchive
from ai_gateway.audit.sqlite_lock import PAUSE_SECONDS
from ai_gateway.audit.store import SILENT_SECONDS, Archive, Store


class World(Protocol):
    """One place where entries are kept, and any number of gateways that share it. `now_ns` is its clock."""

    now_ns: int

    def gateway(self) -> Store:
        """The open store of one more gateway."""

    def archive(self) -> Archive:
        """An open archive."""

    def fall_silent(self, silent: str, store: Store, writer: str, seconds: float = ...) -> None:
        """Time passes in which `silent` gives no sign of life, and `writer`, whose store is given, does."""

    def execute(self, sql: str) -> int:
        """As somebody with rights on the database; the number of rows."""

    @property
    def intents(self) -> str:
        """The table of open intents."""


class _Closing:
    """Closes what it opened."""

    def __init__(self) -> None:
        self.now_ns = NOON_NS
        self._opened: list[Store | Archive] = []

    def close(self) -> None:
        """All of it."""
        for one in self._opened:
            one.close()

    def _open_store(self, store: Store) -> Store:
        self._opened.append(store)
        store.open()
        return store

    def _open_archive(self, archive: Archive) -> Archive:
        self._opened.append(archive)
        archive.open()
        return archive


class SqliteWorld(_Closing):
    """A file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / "audit.db"
        self.intents = "intents"
        self._now = 0.0

    def gateway(self) -> Store:
        """See World."""
        return self._open_store(SqliteStore(self._path, True, lambda: self.now_ns, monotonic=lambda: self._now))

    def archive(self) -> Archive:
        """See World."""
        return self._open_archive(SqliteArchive(self._path))

    def fall_silent(self, silent: str, store: Store, writer: str, seconds: float = SILENT_SECONDS) -> None:
        """It is looked at all the time."""
        store.lost_intents(writer)
        until = self._now + seconds + 1
        while self._now < until:
            self._now = min(until, self._now + PAUSE_SECONDS / 2)
            store.heartbeat(writer)
            if self._now < until:
                store.lost_intents(writer)

    def execute(self, sql: str) -> int:
        """See World."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            return connection.execute(sql).rowcount


class PostgresqlWorld(_Closing):
    """A database of its own."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self.dsn = dsn
        self.intents = "audit_intents"

    def gateway(self) -> Store:
        """See World."""
        return self._open_store(PostgresqlStore(lambda: self.dsn, lambda: self.now_ns))

    def archive(self) -> Archive:
        """See World."""
        return self._open_archive(PostgresqlArchive(lambda: self.dsn))

    def fall_silent(self, silent: str, store: Store, writer: str, seconds: float = SILENT_SECONDS) -> None:
        """Its clock is the database's own: what it remembers is put back instead."""
        store.heartbeat(writer)
        self.execute(f"UPDATE audit_writers SET seen_since = now() - interval '1 day' WHERE writer = '{writer}'")
        ago = f"now() - interval '{seconds + 1} seconds'"
        self.execute(f"UPDATE audit_writers SET seen_at = {ago} WHERE writer = '{silent}'")

    def execute(self, sql: str) -> int:
        """As somebody with rights on the database; the number of rows."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(sql).rowcount


Make = Callable[[Path, Callable[[], str]], SqliteWorld | PostgresqlWorld]
WORLDS: dict[str, Make] = {
    "sqlite": lambda folder, dsn: SqliteWorld(folder),
    "postgresql": lambda folder, dsn: PostgresqlWorld(dsn()),
}


@contextmanager
def opened(name: str, folder: Path, new_dsn: Callable[[], str]) -> Iterator[SqliteWorld | PostgresqlWorld]:
    """A world for as long as the block lasts."""
    world = WORLDS[name](folder, new_dsn)
    try:
        yield world
    finally:
        world.close()


__all__ = ["DAY_NS", "WORLDS", "PostgresqlWorld", "SqliteWorld", "World", "opened"]
