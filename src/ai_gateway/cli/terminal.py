"""Standard output and error of a command: they take any text in any locale, and no text can control a terminal."""

import io
import os
import sys
from contextlib import suppress
from typing import Final

from ai_gateway.wire.printable import printable_lines

_STREAMS: Final = (("stdout", 1), ("stderr", 2))


class EscapedStream(io.TextIOWrapper):
    """Writes control and format characters as escapes, except line ends and tabs."""

    def write(self, text: str) -> int:
        """See io.TextIOBase."""
        return super().write(text if text.isprintable() else printable_lines(text))


def escape_output() -> None:
    """Wraps both streams; call it once, at the start. A terminal keeps its encoding, other outputs get UTF-8.

    A closed stream is opened on /dev/null: otherwise the next file would get its number, and the output with it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name, number in _STREAMS:
        old = getattr(sys, name)
        is_terminal = os.isatty(number)
        encoding = old.encoding if is_terminal and old is not None else "utf-8"
        raw = open(number, "wb", closefd=False)  # noqa: SIM115 - it lives as long as the process
        stream = EscapedStream(raw, encoding, "backslashreplace", line_buffering=is_terminal or name == "stderr")
        setattr(sys, name, stream)
