"""What is long in a body or an answer, set aside: a mark stands in its place while all else is looked at.

So the checks of a call decode a few kilobytes, whatever it weighs, and what is sent is put together of the very pieces
that came: nothing long is copied.
"""

import re
import secrets
from collections.abc import Generator, Iterable, Iterator
from typing import Final, TypeVar

from ai_gateway.wire.json_scan import Piece, TooMuch, Value
from ai_gateway.wire.json_windows import letters_end, text_end

T = TypeVar("T")

LONG_TEXT: Final = 128  # bytes of a text that are looked at; of one that is longer the rest is set aside
MOST_BEGUN: Final = 1 << 20  # of a few items of which the beginnings are wanted

_TEXT: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)("|\Z)', re.DOTALL)


class Asides:
    """What was set aside of one body. Changed by `light` and `whole`. Nobody else can write its marks: they begin with
    a secret of this body."""

    def __init__(self, like: "Asides | None" = None) -> None:
        key = secrets.token_hex(12).encode()
        self._key: bytes = key if like is None else like._key
        self._mark: re.Pattern[bytes] = like._mark if like else re.compile(b'"%b(\\d+)w"|%b(\\d+)t' % (key, key))
        self._asides: list[Iterable[bytes]] = []

    def clear(self) -> None:
        """Lets go of all that was set aside."""
        self._asides.clear()

    def whole(self, value: Iterable[bytes]) -> bytes:
        """A mark for a whole value: JSON text in which a text stands for it."""
        return b'"%bw"' % self._put(value)

    def light(self, group: Iterable[Piece], most: int) -> Generator[int, None, bytes]:
        """JSON text in which long texts are short, step by step. Raises TooMuch where it is more than `most` bytes."""
        light: list[bytes] = []
        size = 0
        inner: list[bytes] | None = None
        for piece in group:
            if not piece.is_inner:
                light.append(self._shortened(piece))
                size += len(light[-1])
                if size > most:
                    raise TooMuch
                inner = None
                yield 0
            elif inner is not None:
                inner.append(piece)
            else:
                inner = [piece]
                light.append(self._put(inner) + b"t")
        return b"".join(light)

    def light_value(self, value: Value, most: int) -> Generator[int, None, bytes]:
        """The same of a whole value."""
        groups: list[bytes] = []
        for group in value.groups:
            groups.append((yield from self.light(group, most)))
            most -= len(groups[-1])
        return b"[%b]" % b",".join(groups) if value.is_split else b",".join(groups)

    def pieces(self, text: bytes) -> Iterator[bytes]:
        """A text that may hold marks, with what they stand for."""
        at = 0
        for mark in self._mark.finditer(text):
            yield text[at : mark.start()]
            yield from self._asides[int(mark[1] or mark[2])]
            at = mark.end()
        yield text[at:] if at else text

    def beginnings(self, text: bytes, most: int) -> Iterator[bytes]:
        """JSON texts of a value: itself, or a few items of a long list in each. See `short`."""
        found = self._mark.fullmatch(text)
        value = self._asides[int(found[1])] if found is not None and found[1] else None
        if not isinstance(value, Value):
            yield self.short(text, most)
            return
        for group in value.groups:
            own = Asides(self)
            yield b"[%b]" % own.short(finished(own.light(group, MOST_BEGUN)), most)

    def short(self, text: bytes, most: int) -> bytes:
        """A text with the first `most` bytes of its long texts, a few more maybe; nothing of images or whole values."""
        left = most

        def begun(mark: "re.Match[bytes]") -> bytes:
            nonlocal left
            if mark[1]:
                return b"null"
            found: list[bytes] = []
            is_image = b'"data:' in text[max(0, mark.start() - 2 * LONG_TEXT) : mark.start()]
            for piece in () if is_image else self._asides[int(mark[2])]:
                if left <= 0:
                    break
                found.append(piece)
                left -= len(piece)
            return b"".join(found)

        return self._mark.sub(begun, text)

    def _put(self, pieces: Iterable[bytes]) -> bytes:
        self._asides.append(pieces)
        return b"%b%d" % (self._key, len(self._asides) - 1)

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
    """What comes of steps that are few."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
