"""Reads a JSON object while it arrives, window by window, and keeps it in pieces. In one piece it would have to be
copied, and each check would block the event loop for long."""

import re
from collections.abc import Generator, Iterator
from typing import Final

import msgspec

from ai_gateway.wire.json_windows import (
    LONGEST_GAP,
    WINDOW,
    Cut,
    NotJson,
    Place,
    TooDeep,
    check,
    check_and_replace,
    cut,
    letters_end,
    text_end,
)
from ai_gateway.wire.unreadable import UNREADABLE

MAX_KEYS: Final = 256
MAX_KEY_BYTES: Final = 1024
MAX_NUMBER_BYTES: Final = 1024

_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_KEY: Final = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\.)*+"', re.DOTALL)
_PLAIN: Final = re.compile(rb"[^][{}\",: \t\r\n]*+")

_decode_key = msgspec.json.Decoder(str).decode
_check_plain = msgspec.json.Decoder(bool | int | float | None).decode

More = Generator[None, None, None]


class TooMuch(Exception):
    """A JSON object that is too large; the text is the reason, a sentence."""


class Doubled(Exception):
    """A key appears more than once."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


NO_OBJECT: Final = (NotJson, TooMuch, Doubled, TooDeep, *UNREADABLE)  # what a scan raises


class Piece(bytes):
    """A piece of a value."""

    __slots__ = ()
    starts_inside = False  # it begins in a text
    is_inner = False  # all of it is in one text, without quotes


class Ending(Piece):
    """A piece that begins within a text."""

    __slots__ = ()
    starts_inside = True


class Inner(Ending):
    """A piece that lies within a text from its first byte to its last."""

    __slots__ = ()
    is_inner = True


class Value:
    """A value in pieces. If it is a split list, each group has one or more whole items, without the comma after them
    and without the list's brackets; any other value is one group."""

    __slots__ = ("groups", "is_split", "size")

    def __init__(self, is_split: bool = False) -> None:
        self.groups: list[list[Piece]] = [[]]
        self.is_split = is_split
        self.size = 0

    @property
    def first(self) -> bytes:
        """The first byte, which tells the value's type."""
        if self.is_split:
            return b"["
        return next((piece[:1] for piece in self.groups[0] if piece), b"")

    def __iter__(self) -> Iterator[bytes]:
        """The JSON text, in pieces."""
        if self.is_split:
            yield b"["
        for number, group in enumerate(self.groups):
            if number:
                yield b","
            yield from group
        if self.is_split:
            yield b"]"

    def text(self) -> bytes:
        """All of the JSON text; for small values."""
        return b"".join(self)


class Scan:
    """The scan of one object. Changed by `feed`. `feed` and `end` raise one of NO_OBJECT for a wrong object."""

    def __init__(
        self, split: frozenset[str] = frozenset(), window: int = WINDOW, *, replaces_lone: bool = False
    ) -> None:
        self._split = split
        self._check = check_and_replace if replaces_lone else check  # lone halves of surrogate pairs, or not
        self._window = window
        self._text = b""
        self._at = 0
        self._is_over = False
        self._seen: set[str] = set()
        self.values: dict[str, Value] = {}
        self.taken_bytes = 0  # bytes read so far
        self._reading = self._object()
        next(self._reading)

    def feed(self, data: bytes) -> None:
        """Reads the next bytes; pass about a WINDOW at once, so that the loop is not blocked."""
        self.taken_bytes += len(data)
        self._text = self._text[self._at :] + data
        self._at = 0
        next(self._reading)

    def close(self) -> None:
        """Drops an incomplete object; otherwise its pieces would stay until a garbage collection."""
        self._reading.close()
        self.values = {}
        self._text = b""

    def end(self) -> dict[str, Value]:
        """All values, after the last byte."""
        self._is_over = True
        for _ in self._reading:
            raise NotJson("it ends too soon")
        return self.values

    def _object(self) -> More:
        yield
        yield from self._expect(b"{")
        while (yield from self._next()) != b"}" or self.values:
            key = yield from self._key()
            value = Value((yield from self._next()) == b"[" and key in self._split)
            self.values[key] = value
            yield from self._value(value)
            if (yield from self._next()) != b",":
                break
            self._at += 1
            if (yield from self._next()) == b"}":
                raise NotJson("a comma before its end")
        yield from self._expect(b"}")
        while not self._is_over or self._at < len(self._text):
            if (yield from self._next(may_end=True)):
                raise NotJson("there is something after its end")
            if not self._is_over:
                yield

    def _next(self, may_end: bool = False) -> Generator[None, None, bytes]:
        """The next byte that is not white space."""
        while True:
            found = _BLANKS.match(self._text, self._at)
            assert found is not None, "it may be empty"
            self._at = found.end()
            if self._at < len(self._text):
                return self._text[self._at : self._at + 1]
            if self._is_over or may_end:
                if not may_end:
                    raise NotJson("it ends too soon")
                return b""
            yield

    def _expect(self, mark: bytes) -> More:
        if (yield from self._next()) != mark:
            raise NotJson(f"{mark.decode()!r} is expected")
        self._at += 1

    def _ensure(self, size: int) -> More:
        """Waits until `size` bytes, or all, are there."""
        while len(self._text) - self._at < size and not self._is_over:
            yield

    def _key(self) -> Generator[None, None, str]:
        yield from self._next()
        yield from self._ensure(MAX_KEY_BYTES + 2)
        found = _KEY.match(self._text, self._at, self._at + MAX_KEY_BYTES + 2)
        if found is None:
            if self._text.startswith(b'"', self._at) and len(self._text) - self._at > MAX_KEY_BYTES:
                raise TooMuch(f"A key in the body is longer than {MAX_KEY_BYTES} bytes, or is invalid.")
            raise NotJson("a key is expected")
        self._at = found.end()
        key = _decode_key(found[0])
        if key.casefold() in self._seen:
            raise Doubled(key)
        self._seen.add(key.casefold())
        if len(self._seen) > MAX_KEYS:
            raise TooMuch(f"The body has more than {MAX_KEYS} keys.")
        yield from self._expect(b":")
        return key

    def _value(self, value: Value) -> More:
        first = yield from self._next()
        if first in (b"[", b"{"):
            yield from self._container(value)
        elif first == b'"':
            yield from self._long_text(value)
        else:
            yield from self._ensure(MAX_NUMBER_BYTES + 1)
            found = _PLAIN.match(self._text, self._at, self._at + MAX_NUMBER_BYTES + 1)
            assert found is not None, "it may be empty"
            if len(found[0]) > MAX_NUMBER_BYTES:
                raise TooMuch(f"A number in the body is longer than {MAX_NUMBER_BYTES} bytes, or is invalid.")
            self._check(found[0], Place(), None)
            self._keep(value, Piece(found[0]))

    def _long_text(self, value: Value) -> More:
        """Reads a text that is a whole value. Its first and last piece have the quotes."""
        start = 1
        place = Place(inside="value")
        while True:
            yield from self._ensure(self._window)
            window = self._text[self._at : self._at + self._window]
            end = text_end(window, start)
            if end >= 0:
                letters = self._check(window[start:end], place, place)
                self._keep(value, (Piece if start else Ending)(window[:start] + letters + b'"'))
                return
            if self._is_over and len(self._text) - self._at <= self._window:
                raise NotJson("it ends in a text")
            end = letters_end(window, start, len(window))
            letters = self._check(window[start:end], place, place)
            self._keep(value, (Piece if start else Inner)(window[:start] + letters))
            start = 0

    def _container(self, value: Value) -> More:
        place = Place()
        size = self._window
        while True:
            yield from self._ensure(size)
            window = self._text[self._at : self._at + size]
            found = cut(window, place, value.is_split)
            if found is None:
                if size >= LONGEST_GAP * self._window:
                    raise TooMuch("The body has a number, or white space, that is too long.")
                if self._is_over and len(self._text) - self._at <= size:
                    raise NotJson("it ends too soon")
                size *= 2
                continue
            piece = self._check(window[: found.end], place, found.place)
            self._keep_part(value, piece, place, found)
            if found.place is None:
                return
            if self._is_over and self._at == len(self._text):
                raise NotJson("it ends too soon")
            place, size = found.place, self._window

    def _keep_part(self, value: Value, piece: bytes, place: Place, found: Cut) -> None:
        """Keeps a piece of a list or object. A split list loses its brackets and the commas between groups."""
        kind = Ending if place.inside else Piece
        if place.inside and found.place is not None and found.place.inside and text_end(piece, 0) < 0:
            kind = Inner
        start = int(value.is_split and place == Place())
        end = len(piece) - int(value.is_split and (found.place is None or found.is_between_items))
        self._keep(value, kind(piece[start:end]), len(piece))
        if found.is_between_items:
            value.groups.append([])

    def _keep(self, value: Value, piece: Piece, taken: int = 0) -> None:
        value.groups[-1].append(piece)
        value.size += len(piece)
        self._at += taken or len(piece)
