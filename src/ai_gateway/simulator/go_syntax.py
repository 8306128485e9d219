"""The messages of Go's decoder for invalid JSON, from those of Python's decoder."""

import json

_LITERALS = {"t": "true", "f": "false", "n": "null"}
_PLACES = (
    ("property name", "looking for beginning of object key string"),
    ("trailing comma", "looking for beginning of object key string"),
    ("':' delimiter", "after object key"),
    ("',' delimiter", "after object key:value pair"),
)


def syntax_text(text: str, error: json.JSONDecodeError) -> str:
    """One sentence such as `invalid character '}' looking for beginning of object key string`."""
    position = error.pos + ("trailing comma" in error.msg)
    rest = text[position:].lstrip(" \t\r\n")
    if not rest or error.msg.startswith(("Unterminated", "Invalid \\")):
        return "unexpected EOF"
    if error.msg.startswith("Expecting value"):
        return _value_text(rest)
    where = next((words for part, words in _PLACES if part in error.msg), "looking for beginning of value")
    return f"invalid character '{rest[0]}' {where}"


def _value_text(rest: str) -> str:
    """The message for a wrong value; for one that starts like true, false or null, it names the first wrong letter."""
    literal = _LITERALS.get(rest[0])
    if literal is None:
        return f"invalid character '{rest[0]}' looking for beginning of value"
    for place, letter in enumerate(literal):
        if place >= len(rest):
            return "unexpected EOF"
        if rest[place] != letter:
            return f"invalid character '{rest[place]}' in literal {literal} (expecting '{letter}')"
    return "unexpected EOF"
