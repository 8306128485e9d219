"""Reads a JSON list of objects in runs, so that of megabytes only a few hundred KiB are objects at once."""

import re
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

RUN_BYTES: Final = 256 << 10

T = TypeVar("T")

# Where one object may end and the next begin. Strings and deeper lists can look the same: a run that ends there is
# not a list, since brackets stay open, and the next place is tried.
_BETWEEN: Final = re.compile(rb"\}(?=[ \t\n\r]*,[ \t\n\r]*\{)")


class Run(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """Some adjacent items. `text` is a JSON list of them, `at` their position in the whole list."""

    items: list[T]
    text: bytes
    at: int


def runs(text: bytes, decoder: "msgspec.json.Decoder[list[T]]") -> Iterator[Run[T]]:
    """The items of a list that is valid JSON, in runs. Raises msgspec.ValidationError for an item of another shape."""
    if len(text) <= RUN_BYTES:
        yield Run(decoder.decode(text), text, 1)
        return
    at, size, end = 1, RUN_BYTES, len(text) - 1
    while at < end:
        cut = _cut(text, at + size, end)
        is_all = at == 1 and cut == end
        run = text if is_all else b"".join((b"[", memoryview(text)[at:cut], b"]"))
        try:
            items = decoder.decode(run)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if cut == end:
                raise
            size *= 2
            continue
        yield Run(items, run, at)
        at, size = text.find(b",", cut, end) + 1 or end, RUN_BYTES


def _cut(text: bytes, after: int, end: int) -> int:
    """The end of an object after `after` that another may follow, else the end of the list."""
    brace = text.find(b"}", after, end)
    found = None if brace < 0 else _BETWEEN.search(text, brace, end)
    return end if found is None else found.end()
