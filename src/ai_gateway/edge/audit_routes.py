"""GET /v1/audit/logs: what was asked of this gateway, for whoever may know.

How a question is read and its answer written is loaded with the first one: most gateways are never asked.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from ai_gateway.accounting.audit import Audit
from ai_gateway.audit.store import Archive, Query, StoreUnavailable
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, header, reply
from ai_gateway.errors import AuditClosed, AuditOff, AuditUnavailable, InvalidRequest
from ai_gateway.exchange import Caller
from ai_gateway.wire.printable import printable_json

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"

_encode = msgspec.json.Encoder().encode


class AuditLogs:
    """Pages of entries. `may_read` says whether a caller may; `peers` is how many gateways are ready, this included."""

    def __init__(self, audit: Audit, may_read: Callable[[Caller], bool], peers: Callable[[], int]) -> None:
        self._audit = audit
        self._may_read = may_read
        self._peers = peers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        if not self._may_read(exchange.caller):
            raise AuditClosed(
                "The audit is for admins. Where authentication is off nobody is one: see "
                "`audit.allow_unauthenticated_reads` in docs/audit.md."
            )
        opened = self._audit.opened
        if opened.writer is None:
            raise AuditOff("The audit is off (`audit.store: none`): nothing is kept that could be read.")
        if opened.reader is None:
            raise AuditOff(f"The audit goes to {opened.section.store}, and cannot be read here.")
        exchange.outcome.reason = "read: " + scope["query_string"].decode("latin-1")
        query, kind = _query(scope), _wanted(header(scope, b"accept"))
        try:
            body, cursor, damaged = await opened.reader.query(lambda archive: self._answer(archive, query, kind))
        except StoreUnavailable as error:
            exchange.outcome.reason = str(error)
            raise AuditUnavailable("The audit cannot be read now; try again later.") from None
        headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", str(len(body)).encode())]
        headers += [(b"cache-control", b"no-store"), *self._told(kind, cursor)]
        if damaged and kind != JSON:
            headers.append((b"x-audit-damaged", str(damaged).encode()))
        await reply(exchange, send, 200, headers, b"" if scope["method"] == "HEAD" else body)

    def _told(self, kind: str, cursor: str | None) -> list[tuple[bytes, bytes]]:
        """What JSON says beside the entries, for the other forms."""
        told = [(b"x-next-cursor", cursor.encode())] if cursor is not None and kind != JSON else []
        if kind != JSON:
            told += [(f"x-audit-{name}".encode(), str(value).lower().encode()) for name, value in self._part().items()]
        return told

    def _part(self) -> dict[str, Any]:
        """Whose entries these are, where other gateways have theirs elsewhere."""
        if self._audit.opened.section.store != "sqlite" or self._peers() <= 1:
            return {}
        return {"complete": False, "writer": self._audit.opened.name}

    def _answer(self, archive: Archive, query: Query, kind: str) -> tuple[bytes, str | None, int]:
        """In the reader's thread: a page, in the form that is wanted, the cursor behind it, and how many rows in it
        are no entries: somebody has changed them, and they are left out."""
        from ai_gateway.audit.format import as_csv, as_lines, as_value
        from ai_gateway.audit.query import page_of, write_cursor

        page = page_of(archive, query)
        cursor = write_cursor(page.next)
        if kind == NDJSON:
            return b"".join(as_lines(page.entries)), cursor, len(page.damaged)
        if kind == CSV:
            return b"".join(as_csv(page.entries)), cursor, len(page.damaged)
        told: dict[str, Any] = {"data": [as_value(entry) for entry in page.entries], "next_cursor": cursor}
        if page.damaged:
            told["damaged"] = [
                {"writer": row.writer, "sequence": row.sequence, "complaint": row.reason} for row in page.damaged
            ]
        return printable_json(_encode({**told, **self._part()})), cursor, len(page.damaged)


def _query(scope: Scope) -> Query:
    from ai_gateway.audit.query import BadQuestion, read_query

    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, strict_parsing=bool(scope["query_string"]),
            errors="strict", max_num_fields=32,
        )  # fmt: skip
    except ValueError:
        raise InvalidRequest("The query cannot be read.", code="invalid_value") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InvalidRequest("A filter stands twice in the query.", code="invalid_value")
    try:
        return read_query(given)
    except BadQuestion as error:
        raise InvalidRequest(str(error), code="invalid_value", param=error.name) from None


def _wanted(accept: bytes | None) -> str:
    """The first of our three forms that a client names; JSON for whoever names none."""
    for part in (accept or b"").decode("latin-1").lower().split(","):
        kind = part.partition(";")[0].strip()
        if kind in (JSON, NDJSON, CSV):
            return kind
        if kind == "application/ndjson":
            return NDJSON
    return JSON
