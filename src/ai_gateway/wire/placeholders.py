"""Placeholders for the long values of a body or an answer, so that the checks read only the rest.

The checks of a call decode a few kilobytes, whatever its size. The gateway then sends the very pieces that it
received: it copies no long value.
"""

import re
import secrets
from collections.abc import Generator, Iterable, Iterator
from typing import Final, TypeVar

from ai_gateway.wire.json_scan import Piece, TooMuch, Value
from ai_gateway.wire.json_windows import letters_end, text_end

T = TypeVar("T")

LONG_TEXT: Final = 128  # bytes of a text that the checks read; a placeholder stands for the rest
MOST_BEGUN: Final = 1 << 20  # bytes of the items whose beginnings are read

_TEXT: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)("|\Z)', re.DOTALL)


class Placeholders:
    """The placeholders of one body and their values. Changed by `shortened` and `whole`. A client cannot write a
    placeholder: each has a secret of this body in it."""

    def __init__(self, like: "Placeholders | None" = None) -> None:
        key = secrets.token_hex(12).encode()
        self._key: bytes = key if like is None else like._key
        self._mark: re.Pattern[bytes] = like._mark if like else re.compile(b'"%b(\\d+)w"|%b(\\d+)t' % (key, key))
        self._values: list[Iterable[bytes]] = []

    def clear(self) -> None:
        """Drops all values."""
        self._values.clear()

    def whole(self, value: Iterable[bytes]) -> bytes:
        """The placeholder of a whole value, as JSON text."""
        return b'"%bw"' % self._put(value)

    def shortened(self, group: Iterable[Piece], most: int) -> Generator[int, None, bytes]:
        """JSON text with placeholders for long texts, in steps. Raises TooMuch if it has more than `most` bytes."""
        shortened: list[bytes] = []
        size = 0
        inner: list[bytes] | None = None
        for piece in group:
            if not piece.is_inner:
                shortened.append(self._shortened(piece))
                size += len(shortened[-1])
                if size > most:
                    raise TooMuch
                inner = None
                yield 0
            elif inner is not None:
                inner.append(piece)
            else:
                inner = [piece]
                shortened.append(self._put(inner) + b"t")
        return b"".join(shortened)

    def shortened_value(self, value: Value, most: int) -> Generator[int, None, bytes]:
        """Like `shortened`, for a whole value."""
        groups: list[bytes] = []
        for group in value.groups:
            groups.append((yield from self.shortened(group, most)))
            most -= len(groups[-1])
        return b"[%b]" % b",".join(groups) if value.is_split else b",".join(groups)

    def pieces(self, text: bytes) -> Iterator[bytes]:
        """A text, with the values in place of its placeholders."""
        at = 0
        for mark in self._mark.finditer(text):
            yield text[at : mark.start()]
            yield from self._values[int(mark[1] or mark[2])]
            at = mark.end()
        yield text[at:] if at else text

    def value(self, text: bytes) -> Value | None:
        """The value in pieces, if the text is the placeholder of one."""
        found = self._mark.fullmatch(text)
        value = self._values[int(found[1])] if found is not None and found[1] else None
        return value if isinstance(value, Value) else None

    def beginnings(self, text: bytes, most: int) -> Iterator[bytes]:
        """JSON texts of a value: one, or several with a few items of a long list in each. See `short`."""
        value = self.value(text)
        if value is None:
            yield self.short(text, most)
            return
        for group in value.groups:
            own = Placeholders(self)
            yield b"[%b]" % own.short(finished(own.shortened(group, MOST_BEGUN)), most)

    def short(self, text: bytes, most: int) -> bytes:
        """A text with about the first `most` bytes of its long texts, and without images and whole values."""
        left = most

        def begun(mark: "re.Match[bytes]") -> bytes:
            nonlocal left
            if mark[1]:
                return b"null"
            found: list[bytes] = []
            is_image = b'"data:' in text[max(0, mark.start() - 2 * LONG_TEXT) : mark.start()]
            for piece in () if is_image else self._values[int(mark[2])]:
                if left <= 0:
                    break
                found.append(piece)
                left -= len(piece)
            return b"".join(found)

        return self._mark.sub(begun, text)

    def _put(self, pieces: Iterable[bytes]) -> bytes:
        self._values.append(pieces)
        return b"%b%d" % (self._key, len(self._values) - 1)

    def _shortened(self, piece: Piece) -> bytes:
        if not piece.starts_inside:
            return _TEXT.sub(self._short, piece)
        at = max(0, text_end(piece, 0))
        return self._rest(piece[:at]) + b'"' + _TEXT.sub(self._short, piece[at + 1 :])

    def _short(self, found: "re.Match[bytes]") -> bytes:
        letters = found[1]
        if len(letters) <= LONG_TEXT:
            return found[0]
        end = letters_end(letters, 0, LONG_TEXT)
        return b'"' + letters[:end] + self._rest(letters[end:]) + found[2]

    def _rest(self, letters: bytes) -> bytes:
        return letters if len(letters) <= LONG_TEXT else self._put([letters]) + b"t"


def finished(steps: Generator[int, None, T]) -> T:
    """Runs a generator to its end and returns its result; for short work only."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
