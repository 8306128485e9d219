"""Whether an SQLite store is as it was made. An index that lacks a row hides it from every list that walks it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from ai_gateway.audit.sqlite_schema import STEPS, migrate, version_of

MOST_TOLD: Final = 20
_MADE: Final = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
_OWN: Final = ("entries", "intents", "writers", "checkpoints", "schema")
# Programs of its own would run with each write, and a view could stand in the place of a table.
_FOREIGN: Final = ("trigger", "view")


def reasons(connection: sqlite3.Connection) -> Iterator[str]:
    """A sentence for each thing that is not as it was made; what SQLite finds itself comes last."""
    wanted = _wanted(version_of(connection)[0])
    for kind, name, sql in connection.execute(_MADE):
        made = wanted.pop((kind, name), None)
        if made is None and (kind in _FOREIGN or name in _OWN):
            yield f"there is a {kind} {name}, which no gateway has made"
        elif made is not None and made != sql:
            yield f"the {kind} {name} is not as a gateway makes it"
    for kind, name in wanted:
        yield f"the {kind} {name} is gone"
    for (told,) in connection.execute(f"PRAGMA integrity_check({MOST_TOLD})"):
        if told != "ok":
            yield f"SQLite finds: {told}"


def _wanted(version: int) -> dict[tuple[str, str], str]:
    """What a gateway of that version leaves: no newer one may have opened the file for writing yet."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh, STEPS[:version])
        return {(kind, name): sql for kind, name, sql in fresh.execute(_MADE)}
