"""GET /v1/audit/logs: the audit's entries, for callers who may read them.

The first request imports the code that reads a query and writes its answer: most gateways never get one.
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
    """Pages of entries. `may_read` checks a caller; `peers` counts the ready gateways, with this one."""

    def __init__(self, audit: Audit, may_read: Callable[[Caller], bool], peers: Callable[[], int]) -> None:
        self._audit = audit
        self._may_read = may_read
        self._peers = peers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        if not self._may_read(exchange.caller):
            raise AuditClosed(
                "Only admins can read the audit. Without authentication there are none: see "
                "`audit.allow_unauthenticated_reads` in docs/audit.md."
            )
        opened = self._audit.opened
        if opened.writer is None:
            raise AuditOff("The audit is off (`audit.store: none`), so there are no entries to read.")
        if opened.reader is None:
            raise AuditOff(f"The audit goes to {opened.section.store}; read it there, the gateway cannot.")
        exchange.outcome.reason = "read: " + scope["query_string"].decode("latin-1")
        query, kind = _query(scope), _wanted(header(scope, b"accept"))
        try:
            body, cursor, damaged = await opened.reader.query(lambda archive: self._answer(archive, query, kind))
        except StoreUnavailable as error:
            exchange.outcome.reason = str(error)
            raise AuditUnavailable("The gateway cannot read the audit now; try again later.") from None
        headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", str(len(body)).encode())]
        headers += [(b"cache-control", b"no-store"), *self._page_headers(kind, cursor)]
        if damaged and kind != JSON:
            headers.append((b"x-audit-damaged", str(damaged).encode()))
        await reply(exchange, send, 200, headers, b"" if scope["method"] == "HEAD" else body)

    def _page_headers(self, kind: str, cursor: str | None) -> list[tuple[bytes, bytes]]:
        """For NDJSON and CSV: what JSON has beside the entries."""
        headers = [(b"x-next-cursor", cursor.encode())] if cursor is not None and kind != JSON else []
        if kind != JSON:
            part = self._part().items()
            headers += [(f"x-audit-{name}".encode(), str(value).lower().encode()) for name, value in part]
        return headers

    def _part(self) -> dict[str, Any]:
        """Which gateway's entries these are, if other gateways keep their own."""
        if self._audit.opened.section.store != "sqlite" or self._peers() <= 1:
            return {}
        return {"complete": False, "writer": self._audit.opened.name}

    def _answer(self, archive: Archive, query: Query, kind: str) -> tuple[bytes, str | None, int]:
        """Runs in the reader's thread. Returns a page in the wanted form, the cursor of the next one, and the number of
        damaged rows, which the page leaves out."""
        from ai_gateway.audit.format import as_csv, as_lines, as_value
        from ai_gateway.audit.query import page_of, write_cursor

        page = page_of(archive, query)
        cursor = write_cursor(page.next)
        if kind == NDJSON:
            return b"".join(as_lines(page.entries)), cursor, len(page.damaged)
        if kind == CSV:
            return b"".join(as_csv(page.entries)), cursor, len(page.damaged)
        content: dict[str, Any] = {"data": [as_value(entry) for entry in page.entries], "next_cursor": cursor}
        if page.damaged:
            content["damaged"] = [
                {"writer": row.writer, "sequence": row.sequence, "complaint": row.reason} for row in page.damaged
            ]
        return printable_json(_encode({**content, **self._part()})), cursor, len(page.damaged)


def _query(scope: Scope) -> Query:
    from ai_gateway.audit.query import BadQuestion, read_query

    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, strict_parsing=bool(scope["query_string"]),
            errors="strict", max_num_fields=32,
        )  # fmt: skip
    except ValueError:
        raise InvalidRequest("The query is invalid: is it percent-encoded?", code="invalid_value") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InvalidRequest("The query has the same filter twice.", code="invalid_value")
    try:
        return read_query(given)
    except BadQuestion as error:
        raise InvalidRequest(str(error), code="invalid_value", param=error.name) from None


def _wanted(accept: bytes | None) -> str:
    """The first of the three forms that a client names, else JSON."""
    for part in (accept or b"").decode("latin-1").lower().split(","):
        kind = part.partition(";")[0].strip()
        if kind in (JSON, NDJSON, CSV):
            return kind
        if kind == "application/ndjson":
            return NDJSON
    return JSON
