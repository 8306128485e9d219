"""Lone halves of surrogate pairs in JSON text, as JavaScript writes a string that was cut inside an emoji.

Go's encoding/json reads a lone half as U+FFFD, and the gateway does the same; msgspec and strict readers of RFC 8259
refuse it. Both are escapes of six bytes, so the gateway replaces one in place.
"""

import re
from typing import Final

from ai_gateway.errors import InvalidRequest

_REPLACEMENT: Final = b"\\ufffd"
_PAIR: Final = rb"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# Bounded, so that no step takes longer than a millisecond: other threads wait for it.
_OTHERS: Final = re.compile(rb"(?:[^\\]{1,256}+|\\(?:" + _PAIR + rb"|u(?![dD][89a-fA-F])|[^u])){1,1024}+", re.DOTALL)
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALVES: Final = re.compile(
    rb"(?:" + _LOW + rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?!" + _LOW + rb")){1,1024}+"
)  # fmt: skip
_TO_QUOTE: Final = re.compile(rb'(?:[^"\\]{1,256}+|\\.){1,1024}+', re.DOTALL)
_COLON: Final = re.compile(rb'"[ \t\n\r]*:')


def replace_lone(text: bytes) -> bytes | None:
    """The text with U+FFFD for every lone half, or None if there is none.

    Raises InvalidRequest for one in an object's key: keys are compared, and two of them would become one.
    """
    if b"\\ud" not in text and b"\\uD" not in text:
        return None
    found: bytearray | None = None
    at = string_ends = 0
    while at < len(text):
        if (others := _OTHERS.match(text, at)) is not None:
            at = others.end()
        elif (halves := _HALVES.match(text, at)) is not None:
            if at >= string_ends:
                string_ends = _end_of_string(text, at)
            found = bytearray(text) if found is None else found
            found[at : halves.end()] = _REPLACEMENT * ((halves.end() - at) // len(_REPLACEMENT))
            at = halves.end()
        else:
            return None  # a broken escape: it is not JSON in any case
    return None if found is None else bytes(found)


def _end_of_string(text: bytes, at: int) -> int:
    """The end of the string around a position. Raises InvalidRequest if the string is a key."""
    while (rest := _TO_QUOTE.match(text, at)) is not None:
        at = rest.end()
    if _COLON.match(text, at) is not None:
        raise InvalidRequest(
            "The body is not valid JSON: a key has an escape for half of a surrogate pair.",
            code="invalid_json",
        )
    return at
