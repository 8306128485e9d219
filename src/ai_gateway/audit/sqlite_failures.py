"""The door where errors of SQLite and of the system become ours."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ai_gateway.audit.store import StoreDamaged, StoreUnavailable

BUSY_SECONDS: Final = 1.0  # that another process may hold the lock; then it is tried again
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Committed when the block is left without an error."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk may have ended the transaction already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def failures() -> Iterator[None]:
    """Raises StoreDamaged for a file that is no database or a broken one, StoreUnavailable for everything else."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeError, OverflowError) as error:
        raise failure(error) from error


def failure(error: Exception) -> StoreUnavailable:
    """The error that stands for this one."""
    # Of a value that is no text it is an sqlite3.Error; here SQLite's own message quotes a schema that is none.
    if isinstance(error, UnicodeDecodeError):
        return StoreDamaged("it holds text that is not UTF-8")
    code = getattr(error, "sqlite_errorcode", None)
    is_damaged = isinstance(code, int) and code & 0xFF in _DAMAGED
    return (StoreDamaged if is_damaged else StoreUnavailable)(str(error))
