"""Standard output and error of a command: whatever the locale says they take any text, and nothing in it acts on a
terminal."""

import io
import os
import sys
from contextlib import suppress
from typing import Final

from ai_gateway.wire.printable import printable_lines

_STREAMS: Final = (("stdout", 1), ("stderr", 2))


class Careful(io.TextIOWrapper):
    """Shows control and format characters as escapes; lines and tabs stay."""

    def write(self, text: str) -> int:
        """See io.TextIOBase."""
        return super().write(text if text.isprintable() else printable_lines(text))


def speak_carefully() -> None:
    """Once, at the start of a process. A person's terminal keeps its encoding, everything else gets UTF-8.

    What was closed is opened on nothing: else the next file would get its number, and with it what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the least number that is free
    for name, number in _STREAMS:
        old = getattr(sys, name)
        is_terminal = os.isatty(number)
        encoding = old.encoding if is_terminal and old is not None else "utf-8"
        raw = open(number, "wb", closefd=False)  # noqa: SIM115 - it lives as long as the process
        stream = Careful(raw, encoding, "backslashreplace", line_buffering=is_terminal or name == "stderr")
        setattr(sys, name, stream)
