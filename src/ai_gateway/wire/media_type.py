"""What a Content-Type says about a body: JSON in UTF-8, a type that may hold JSON, or another type.

Source: RFC 9110 8.3.1 (types and their parameters), RFC 6839 3.1 (`+json`).
"""

import re
from typing import Final, Literal

Kind = Literal["json", "text", "other"]
"""`text` is the type that clients send by default, and that a browser sends without a preflight."""

MAX_BYTES: Final = 512

_USUAL: Final = (b"application/json", b"application/json; charset=utf-8")
_TEXT: Final = (b"", b"text/plain", b"application/x-www-form-urlencoded")
_TYPE: Final = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+|)[ \t]*(?=;|$)")
_PARAMETER: Final = re.compile(rb';[ \t]*([^=;"]*?)[ \t]*(?:=[ \t]*("(?:[^"\\]|\\.)*"|[^;]*))?(?=;|$|[ \t])')
_CHARSETS: Final = (b"utf-8", b"utf8", b"us-ascii", b"")


def kind_of(value: bytes) -> Kind:
    """The kind of a Content-Type; b"" means none. Of its parameters, only a charset other than UTF-8 counts."""
    if value in _USUAL:
        return "json"
    value = value.lower()
    named = _TYPE.match(value) if len(value) <= MAX_BYTES else None
    if named is None:
        return "other"
    for name, text in _PARAMETER.findall(value, named.end()):
        if name == b"charset" and text.strip(b" \t\"'") not in _CHARSETS:
            return "other"
    if named[1] == b"application/json" or named[1].endswith(b"+json"):
        return "json"
    return "text" if named[1] in _TEXT else "other"
