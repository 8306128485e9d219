"""What the two SQL stores have in common: versions and columns of their tables, the filters with an index, and the plan
of a page."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ai_gateway.audit.chain import Checkpoint
from ai_gateway.audit.damage import Damaged
from ai_gateway.audit.entry import AuditEntry, columns
from ai_gateway.audit.store import Page, Position, Query, StoreTooNew, StoreUnavailable

VERSION: Final = 1  # of the tables
NAMES: Final = tuple(name for name, _ in columns)
LISTED: Final = ", ".join(NAMES)
CHECKPOINT_NAMES: Final = ", ".join(Checkpoint.__struct_fields__)
DAY_NS: Final = 86_400 * 10**9
MOST_LOOKED_AT: Final = 5000  # entries for one page of filters that no index has together

# The filters that have an index, each in the order of time; `actor` and `model_asked` have one together.
INDEXES: Final[dict[tuple[str, ...], str]] = {
    (): "ends",
    ("actor",): "ends_actor",
    ("tenant",): "ends_tenant",
    ("model_asked",): "ends_model",
    ("actor", "model_asked"): "ends_actor_model",
    ("status",): "ends_status",
    ("outcome",): "ends_outcome",
    ("request_id",): "ends_request",
}
# The filters with their columns, the most selective first: the first one chooses the index.
_FILTERS: Final = {
    "request_id": "request_id", "actor": "actor", "model": "model_asked", "tenant": "tenant", "status": "status",
    "outcome": "outcome",
}  # fmt: skip
_PLACES: Final = tuple(NAMES.index(name) for name in ("at_ns", "writer", "sequence"))

# A sum for each caller and model; the stores differ in how they write a count and name the table.
USAGE: Final = (
    "SELECT auth_method, actor, CASE auth_method WHEN 'none' THEN client_address ELSE '' END, tenant, model_asked, "
    "{tokens} FROM {ends} AND at_ns >= {0} AND at_ns < {1} AND started_ns >= {2} AND model_asked IS NOT NULL "
    "GROUP BY 1, 2, 3, 4, 5"
)

CHANGED: Final = "the table with the version of the audit's tables (schema, audit_schema) was changed"

Values = list[tuple[str, Any]]  # columns with what they shall be


class Step(NamedTuple):
    """The statements that lead to a version, and the least version that may write from then on.

    A newer gateway takes the steps while older ones go on writing: a step adds columns with no duty to fill them,
    tables or indexes and nothing else, or it raises `writable_from`. An older gateway that finds itself below it stops.
    """

    statements: Sequence[str]
    writable_from: int = 1


def check_writable(writable_from: int | None, version: int) -> None:
    """Raises StoreTooNew where gateways of this version must not write any more; None: nobody knows."""
    if writable_from is None:
        raise StoreUnavailable(CHANGED)
    if writable_from > version:
        raise StoreTooNew(
            f"a newer gateway made the audit's tables: those that write must know version {writable_from}, and this "
            f"one knows version {version}"
        )


def plan(query: Query, common: Sequence[tuple[str, Any]] = ()) -> tuple[Values, Values]:
    """The columns whose index is walked, and the other filters. No index has values that are `common`."""
    given = {column: value for name, column in _FILTERS.items() if (value := getattr(query, name)) is not None}
    walked = [column for column, value in given.items() if (column, value) not in common][:1]
    if "request_id" not in given and {"actor", "model_asked"} <= set(given):
        walked = ["actor", "model_asked"]
    return [(column, given.pop(column)) for column in walked], list(given.items())


def position(row: Sequence[Any]) -> Position:
    """Of an entry's row, as the table has it."""
    return Position(*(row[place] for place in _PLACES))


def paged(rows: Sequence[AuditEntry | Damaged], then: Position | None) -> Page:
    """A page of these rows."""
    entries = [one for one in rows if not isinstance(one, Damaged)]
    return Page(entries, then, [one for one in rows if isinstance(one, Damaged)])


def beginning(day: str) -> int:
    """Unix nanoseconds at which a day (UTC, YYYY-MM-DD) begins."""
    return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 10**9
