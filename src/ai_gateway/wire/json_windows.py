"""Reads a long JSON list, object or text in windows, so that no step takes longer than a window does.

A JSON decoder in C holds Python's lock from the first byte to the last. So a long value is cut, and each piece is
checked as a document: brackets that were open before it are opened, and those that it leaves open are closed.
"""

import re
from array import array
from itertools import accumulate
from typing import Final, Literal, NamedTuple

import msgspec

from ai_gateway.wire import surrogates

WINDOW: Final = 12 << 10  # bytes of one step: a millisecond in the worst case
LONGEST_GAP: Final = 4  # windows without a comma outside texts: only numbers and white space are longer
MAX_DEPTH: Final = 32

Inside = Literal["", "key", "value"]

_check = msgspec.json.Decoder(msgspec.Raw).decode

_LEAST: Final = 64  # depth 0 as a byte, so that a byte can also show surplus closing brackets
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{},"'))
_STEPS: Final = bytes({91: 1, 123: 1, 93: 255, 125: 255}.get(byte, 0) for byte in range(256))
_SHALLOW: Final = bytes(range(_LEAST + MAX_DEPTH))  # the body's own object is the first level
_BETWEEN_ITEMS: Final = bytes((_LEAST + 1, _LEAST + 1))  # only a comma keeps the depth
_TEXT: Final = rb'"(?:[^"\\]++|\\.)*+"'
_MARK: Final = rb'(?:[^][{}",]++|' + _TEXT + rb")*+[][{},]"
_MARKS: Final = tuple((count, re.compile(rb"(?:%b){%d}+" % (_MARK, count), re.DOTALL)) for count in (1024, 32, 1))
_UP_TO_VALUE: Final = re.compile(rb"[ \t\r\n]*+(?:" + _TEXT + rb"[ \t\r\n]*+)?+:[ \t\r\n]*+", re.DOTALL)
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_HALF_PAIR: Final = re.compile(rb"\\u[dD][89aAbB][0-9a-fA-F]{2}")


class NotJson(Exception):
    """The bytes are not a JSON object; the text is the reason, the end of a sentence."""


class TooDeep(Exception):
    """Lists and objects are nested deeper than MAX_DEPTH."""


class Place(NamedTuple):
    """Where a window begins: the open brackets, outermost first, and whether a text is open."""

    opened: bytes = b""
    inside: Inside = ""


class Cut(NamedTuple):
    """Where a window ends, and the place after it: None if the value is over."""

    end: int
    place: Place | None
    is_between_items: bool = False  # between two items of the outermost list


def cut(window: bytes, place: Place, by_item: bool) -> Cut | None:
    """The end of the value in this window, or the last place to cut it; `by_item`: if possible between two items of
    the outermost list. None if there is neither. Raises TooDeep."""
    structure, ends_inside = _structure(window, place.inside)
    depths = _depths(structure, _LEAST + len(place.opened))
    closed = depths.find(_LEAST, 1)
    if depths[: closed + 1 or None].translate(None, _SHALLOW):
        raise TooDeep
    if closed > 0:
        return Cut(_behind(window, place.inside, closed), None)
    last = structure.rfind(b",") + 1
    marks = (depths.rfind(_BETWEEN_ITEMS) + 1 if by_item else 0) or last
    if marks:
        end = (_behind_last_comma(window, ends_inside) if marks == last else 0) or _behind(window, place.inside, marks)
        is_between_items = by_item and depths[marks - 1] == depths[marks] == _BETWEEN_ITEMS[0]
        return Cut(end, Place(_opened(structure, depths, marks, place)), is_between_items)
    if not ends_inside:
        return None
    opened = _opened(structure, depths, len(structure), place)
    inside, start = _text_begun(window, place, len(structure), opened)
    end = letters_end(window, start, len(window))
    return Cut(end, Place(opened, inside)) if end > 0 else None


def check(piece: bytes, before: Place, behind: Place | None) -> bytes:
    """The piece. Raises msgspec.DecodeError or UnicodeDecodeError if it is not valid between the two places."""
    if not piece.isascii():
        piece.decode()
    _check(_opening(before) + piece + (b"" if behind is None else _closing(behind)))
    return piece


def check_and_replace(piece: bytes, before: Place, behind: Place | None) -> bytes:
    """Like `check`, with U+FFFD for each lone half of a surrogate pair. Raises InvalidRequest for one in a key."""
    try:
        return check(piece, before, behind)
    except msgspec.DecodeError:
        opening, closing = _opening(before), b"" if behind is None else _closing(behind)
        text = surrogates.replace_lone(opening + piece + closing)
        if text is None:
            raise
        return check(text[len(opening) : len(text) - len(closing)], before, behind)


def text_end(text: bytes, at: int) -> int:
    """The position of the quote that ends a text, or -1; a letter of the text begins at `at`."""
    quote = text.find(b'"', at)
    if quote < 0 or text.find(b"\\", at, quote) < 0:
        return quote
    rest = text[at:].replace(b"\\\\", b"__").replace(b'\\"', b"__").find(b'"')
    return rest if rest < 0 else at + rest


def letters_end(text: bytes, at: int, limit: int) -> int:
    """The last position up to `limit` between two letters of a text; `at` is such a position.

    An escape, and a pair of escapes for one character, count as one letter.
    """
    end = limit
    if text.find(b"\\", max(at, limit - 12), limit) >= 0:
        escapes = text[at:limit].replace(b"\\\\", b"__")  # each remaining backslash begins an escape
        last = escapes.rfind(b"\\")
        if last + (6 if escapes[last + 1 : last + 2] == b"u" else 2) > len(escapes) and last >= 0:
            end = at + last
        if _HALF_PAIR.fullmatch(escapes, max(0, end - at - 6), end - at):
            end -= 6
        if end <= at:
            return at if limit - at < 12 else limit  # the decoder refuses what is not an escape
    while end > at and end > limit - 4 and _halves_character(text, at, end):
        end -= 1
    return end


def _halves_character(text: bytes, at: int, end: int) -> bool:
    """Whether a UTF-8 character begins before `end` and goes on after it."""
    start = end - 1
    while start > at and start > end - 4 and text[start] & 0xC0 == 0x80:
        start -= 1
    lead = text[start]
    return start + (1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)) > end


def _structure(window: bytes, inside: Inside) -> tuple[bytes, bool]:
    """Brackets and commas outside texts, and whether the window ends in a text."""
    if b"\\" in window:
        window = window.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = window.translate(None, _NO_STRUCTURE)
    if inside:
        marks = b'"' + marks
    # Removing two adjacent quotes does not change what is inside texts; most texts are empty by now.
    marks = marks.replace(b'""', b"")
    if b'"' not in marks:
        return marks, False
    parts = marks.split(b'"')
    return b"".join(parts[::2]), len(parts) % 2 == 0


def _depths(structure: bytes, depth: int) -> bytes:
    """The depth before each mark and after the last, up to the end of the value."""
    steps = accumulate(array("b", structure.translate(_STEPS)), initial=depth)
    try:
        return bytes(steps)
    except ValueError:  # a body of brackets alone
        found = list(accumulate(array("b", structure.translate(_STEPS)), initial=depth))
        end = found.index(_LEAST, 1) + 1 if _LEAST in found[1:] else len(found)
        if max(found[:end]) >= len(_SHALLOW):
            raise TooDeep from None
        return bytes(found[:end])


def _opened(structure: bytes, depths: bytes, marks: int, place: Place) -> bytes:
    """The brackets that are open after `marks` marks."""
    kept = min(depths[: marks + 1]) - _LEAST
    found = [depths.rfind(_LEAST + level, 0, marks + 1) for level in range(kept, depths[marks] - _LEAST)]
    return place.opened[:kept] + bytes(structure[at] for at in found)


def _behind_last_comma(window: bytes, ends_inside: bool) -> int:
    """The position after the last comma, if that is outside texts, else 0."""
    comma = window.rfind(b",") + 1
    rest = window[comma:]
    if b"\\" in rest:
        rest = rest.replace(b"\\\\", b"").replace(b'\\"', b"")
    return comma if rest.count(b'"') % 2 == ends_inside else 0


def _behind(window: bytes, inside: Inside, marks: int) -> int:
    """The position after `marks` marks outside texts."""
    at = text_end(window, 0) + 1 if inside else 0
    for count, pattern in _MARKS:
        while marks >= count:
            found = pattern.match(window, at)
            if found is None:  # a backslash outside texts hid a mark
                raise NotJson("it has a backslash outside texts")
            at = found.end()
            marks -= count
    return at


def _text_begun(window: bytes, place: Place, marks: int, opened: bytes) -> tuple[Inside, int]:
    """The kind of the text in which the window ends, and where its letters begin."""
    if place.inside and text_end(window, 0) < 0:
        return place.inside, 0
    at = _behind(window, place.inside, marks)
    value = _UP_TO_VALUE.match(window, at)
    if opened[-1:] == b"[" or value is None:
        blanks = _BLANKS.match(window, at)
        assert blanks is not None, "it may be empty"
        return "value" if opened[-1:] == b"[" else "key", blanks.end() + 1
    return "value", value.end() + 1


def _opening(place: Place) -> bytes:
    """The beginning of a document, up to a place."""
    if not place.opened:
        return b'"' if place.inside else b""
    outer = b"".join(b"[" if one == 91 else b'{"":' for one in place.opened[:-1])
    is_list = place.opened[-1] == 91
    if place.inside == "key":
        return outer + b'{"'
    if place.inside:
        return outer + (b'["' if is_list else b'{"":"')
    return outer + (b"[0," if is_list else b'{"":0,')


def _closing(place: Place) -> bytes:
    """The end of a document, from a place on."""
    outer = place.opened[::-1].translate(bytes.maketrans(b"[{", b"]}"))
    if place.inside:
        return (b'":0' if place.inside == "key" else b'"') + outer
    return (b"0" if place.opened[-1:] == b"[" else b'"":0') + outer
