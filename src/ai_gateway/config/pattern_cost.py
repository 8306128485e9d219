"""Whether a regular expression takes time without bound: it is tried on short texts, each longer than the last.

Python's `re` cannot be interrupted, and nothing else runs meanwhile: one prompt would stop the gateway for good where a
repeat within a repeat can be read in too many ways, such as `(a+)+$` on a row of `a`.
"""

import re
import time
from collections.abc import Iterator
from typing import Final

USUAL: Final = "a0 A-._@/,"
MOST_LETTERS: Final = 24  # of the expression itself; the first ones are tried in pairs, too
MOST_PAIRED: Final = 5
LENGTHS: Final = range(8, 61, 2)  # in small steps: where the time doubles with each character, none takes long
MOST_SECONDS: Final = 0.005  # of CPU for 60 characters; what is well made takes some microseconds


def endless(pattern: "re.Pattern[str]") -> str | None:
    """A text of 60 characters or fewer on which it takes more than MOST_SECONDS; None if none was found."""
    letters = dict.fromkeys(letter for letter in pattern.pattern if letter.isalnum() or letter in USUAL)
    own = list(letters)[:MOST_LETTERS]
    for unit in _units(own):
        for length in LENGTHS:
            text = (unit * length)[:length] + "\0"
            # Twice: the first time something else, such as the garbage collector, may have had its turn.
            if _seconds(pattern, text) > MOST_SECONDS and _seconds(pattern, text) > MOST_SECONDS:
                return text[:-1]
    return None


def _seconds(pattern: "re.Pattern[str]", text: str) -> float:
    began = time.thread_time()
    pattern.search(text)
    return time.thread_time() - began


def _units(own: list[str]) -> Iterator[str]:
    singles = list(dict.fromkeys([*own, *USUAL]))
    yield from singles
    paired = list(dict.fromkeys([*own[:MOST_PAIRED], *USUAL[:MOST_PAIRED]]))
    yield from (first + second for first in paired for second in paired if first != second)
