"""A connection to PostgreSQL for one thread: opened when it is needed, given up when it fails or takes too long.

psycopg is imported with the first connection: 25 MB of memory that a gateway without PostgreSQL saves.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from ai_gateway.audit.store import StoreDamaged, StoreUnavailable, StoreUnsure

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_SECONDS: Final = 5
CANCEL_SECONDS: Final = 1.0
STATEMENT_SECONDS: Final = 5.0
# Of the DSN's options these are ours; whatever else it says (TLS, schema, hosts) holds. A server that has gone without
# a word is noticed by the kernel, one that answers nothing by the deadline of each transaction.
_SETTINGS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "ai-gateway-ollama",
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


# Of SQLSTATE: a table, column or type that is not there, or not what it was; a damaged page or index.
_CHANGED: Final = ("42P01", "42703", "42704", "42804", "42809", "42846", "42883", "XX001", "XX002")


class PostgresqlConnection:
    """At most one open connection. `dsn` is called for each new one: a password may have been changed.

    With `is_reading` tables and values that are not as they were made raise StoreDamaged.
    """

    def __init__(self, dsn: Callable[[], str], is_reading: bool = False) -> None:
        self._dsn = dsn
        self._is_reading = is_reading
        self._connection: Connection[tuple[Any, ...]] | None = None

    @contextmanager
    def transaction(self, seconds: float | None = STATEMENT_SECONDS) -> "Iterator[Connection[tuple[Any, ...]]]":
        """Committed when the block is left without an error. Takes so long at most.

        Raises StoreUnavailable, StoreUnsure where the commit may have been made, and psycopg's DataError for a value
        that no column can hold.
        """
        import psycopg

        is_committing = False
        try:
            connection = self._open(psycopg)
            with _cut_off_after(seconds, connection), connection.transaction():
                yield connection
                is_committing = True
        except psycopg.DataError as error:  # the value is wrong, not the database
            if self._is_reading:
                raise StoreDamaged(_reason(error)) from error
            raise
        except psycopg.Error as error:
            self.close()
            if self._is_reading and error.sqlstate is not None and error.sqlstate.startswith(_CHANGED):
                raise StoreDamaged(_reason(error)) from error
            kind = StoreUnsure if is_committing and isinstance(error, psycopg.OperationalError) else StoreUnavailable
            raise kind(_reason(error)) from error
        except OSError as error:
            self.close()
            raise StoreUnavailable(str(error)) from error

    def interrupt(self) -> None:
        """Ends what another thread waits for."""
        connection = self._connection
        if connection is not None:
            with suppress(Exception):  # whatever it is, the connection is closed next
                connection.cancel_safe(timeout=CANCEL_SECONDS)

    def close(self) -> None:
        """Closes what is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # whatever it is, it is not used any more
                connection.close()

    def _open(self, psycopg: Any) -> "Connection[tuple[Any, ...]]":
        if self._connection is None or self._connection.closed:
            try:
                made = psycopg.connect(self._dsn(), autocommit=True, **_SETTINGS)
            except psycopg.ProgrammingError:  # its message repeats the text, and a password with it
                raise StoreUnavailable("the DSN of the audit's PostgreSQL cannot be understood") from None
            except UnicodeError:  # neither does this one say more
                raise StoreUnavailable("the DSN of the audit's PostgreSQL is not UTF-8") from None
            self._connection = made
            made.prepare_threshold = None  # poolers such as PgBouncer hand each transaction another session
            with _cut_off_after(CONNECT_SECONDS, made):
                made.execute(
                    "SELECT set_config('timezone', 'UTC', false), set_config('statement_timeout', %s, false)",
                    (f"{int(STATEMENT_SECONDS * 1000)}",),
                )
        assert self._connection is not None
        return self._connection


def _reason(error: Exception) -> str:
    """One line for operators; what was written is not in it."""
    diagnosis = getattr(getattr(error, "diag", None), "message_primary", None)
    return str(diagnosis or error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def _cut_off_after(seconds: float | None, connection: "Connection[tuple[Any, ...]]") -> Iterator[None]:
    """Ends the connection's socket when the time is over, since libpq itself would wait for ever."""
    if seconds is None:
        yield
        return
    held = socket.socket(fileno=os.dup(connection.fileno()))  # its number is not given away meanwhile
    timer = threading.Timer(seconds, _shut, (held,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        held.close()


def _shut(held: socket.socket) -> None:
    with suppress(OSError):
        held.shutdown(socket.SHUT_RDWR)
