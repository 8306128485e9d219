"""Text for a terminal or a log: characters that would move the cursor, turn the writing direction, or hide text become
escapes. So do halves of surrogate pairs, which no encoding accepts.

Python's `str.isprintable` decides. Control characters (C0, DEL, C1), format characters (bidirectional marks,
zero-width ones), line and paragraph separators, and characters unknown to Unicode are not printable.
"""

from typing import Final

_DELETE: Final = b"\x7f"


def printable(text: str) -> str:
    """The text with `\\x1b`, `\\u202e` or `\\U000e0001` in place of each unprintable character."""
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """Like `printable`, but keeps line ends and tabs: for the gateway's own texts, such as a traceback."""
    return "".join(char if char in "\n\t" else _shown(char) for char in text)


def printable_json(encoded: bytes) -> bytes:
    """A line of compact JSON with JSON's own escapes for unprintable characters; its meaning as JSON is the same."""
    if encoded.isascii() and _DELETE not in encoded:
        return encoded
    text = encoded.decode()
    return encoded if text.isprintable() else "".join(map(_escaped, text)).encode()


def utf8(text: str) -> str:
    """The text with escapes for what UTF-8 cannot hold."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))
