"""Questions to the audit in the words of its API and command: filters as text, the cursor, and pages of some MiB."""

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, get_args

import msgspec

from ai_gateway.audit.damage import Damaged
from ai_gateway.audit.entry import AuditEntry, EntryOutcome
from ai_gateway.audit.store import MAX_LIMIT, Archive, Page, Position, Query
from ai_gateway.wire.unreadable import UNREADABLE

MOST_PAGE_BYTES: Final = 4 << 20  # of content; a page of as many entries as may be asked for could hold far more
STEP: Final = 50  # entries that are read at once: little more than a page's bytes, however large they are

_decode = msgspec.json.Decoder(Position).decode
_encode = msgspec.json.Encoder().encode
_MOST_NS: Final = 2**63 - 1
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")
_MOST_CURSOR: Final = 1024
_OUTCOMES: Final = get_args(EntryOutcome)


class BadQuestion(ValueError):
    """A filter that cannot be understood; `name` is whose."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def read_query(given: Mapping[str, str]) -> Query:
    """The query that these filters mean. Raises BadQuestion."""
    fields: dict[str, Any] = {}
    for name, text in given.items():
        reader = _READERS.get(name)
        if reader is None:
            raise BadQuestion(name, f"`{name}` is no filter; there are {', '.join(_READERS)}.")
        field, read = reader
        fields[field] = read(name, text)
    return Query(**fields)


def page_of(archive: Archive, query: Query) -> Page:
    """A page that ends, with where to go on, before its content is more than MOST_PAGE_BYTES; never before an entry.

    Raises StoreUnavailable.
    """
    entries: list[AuditEntry] = []
    damaged: list[Damaged] = []
    left, after = MOST_PAGE_BYTES, query.after
    while True:
        step = min(STEP, query.limit - len(entries))
        page = archive.page(msgspec.structs.replace(query, limit=step, after=after))
        damaged += page.damaged
        for entry in page.entries:
            left -= _content_bytes(entry)
            if left < 0 and entries:
                last = entries[-1]
                return Page(entries, Position(last.at_ns, last.writer, last.sequence), damaged)
            entries.append(entry)
        # A short step has read as much as a page may, and says where to go on.
        if page.next is None or len(page.entries) < step or len(entries) == query.limit:
            return Page(entries, page.next, damaged)
        after = page.next


def write_cursor(position: Position | None) -> str | None:
    """The text that stands for a place in the list. Of a writer that is not UTF-8 it has the part before that, which
    comes later in the list: no walk meets the same row for ever."""
    if position is None:
        return None
    position = msgspec.structs.replace(position, writer=_NO_UTF8.split(position.writer, 1)[0])
    return base64.urlsafe_b64encode(_encode(position)).decode().rstrip("=")


def _content_bytes(entry: AuditEntry) -> int:
    return sum(len(text.encode(errors="replace")) for text in (entry.request_content, entry.answer_content) if text)


def _text(name: str, text: str) -> str:
    if not text or len(text) > 512 or "\0" in text:
        raise BadQuestion(name, f"`{name}` must be a text that is not empty.")
    return text


def _outcome(name: str, text: str) -> str:
    if text not in _OUTCOMES:
        raise BadQuestion(name, f"`{name}` must be one of {', '.join(_OUTCOMES)}.")
    return text


def _number(lowest: int, highest: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest):
            raise BadQuestion(name, f"`{name}` must be a whole number from {lowest} to {highest}.")
        return int(text)

    return read


def _moment(name: str, text: str) -> int:
    """Unix nanoseconds of a date, a time of RFC 3339 (UTC unless it says otherwise) or Unix seconds."""
    try:
        if text.isascii() and text.isdigit():
            found = int(text) * 10**9
        else:
            moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that was not escaped
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            found = int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
    except (ValueError, OverflowError):
        found = -1
    if not 0 <= found <= _MOST_NS:
        raise BadQuestion(name, f"`{name}` must be a time such as 2026-01-31T12:00:00Z, a date, or Unix seconds.")
    return found


def _cursor(name: str, text: str) -> Position:
    try:
        if len(text) > _MOST_CURSOR:
            raise ValueError
        found = _decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        # Any number that a store can hold: a row that was changed may stand at the end of a page.
        if not all(-_MOST_NS - 1 <= number <= _MOST_NS for number in (found.at_ns, found.sequence)):
            raise ValueError
    except (*UNREADABLE, ValueError):
        raise BadQuestion(name, f"`{name}` must be the `next_cursor` of another answer.") from None
    return found


_READERS: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    "actor": ("actor", _text),
    "model": ("model", _text),
    "status": ("status", _number(100, 599)),
    "outcome": ("outcome", _outcome),
    "tenant": ("tenant", _text),
    "request_id": ("request_id", _text),
    "since": ("since_ns", _moment),
    "until": ("until_ns", _moment),
    "limit": ("limit", _number(1, MAX_LIMIT)),
    "cursor": ("after", _cursor),
}
FILTERS: Final = tuple(name for name in _READERS if name not in ("limit", "cursor"))
