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
LONGER: Final = (128, 256, 512, 1024, 2048)  # of texts on which a pattern may be slow, none of them for long
SLOW_SECONDS: Final = 0.002  # of CPU on one of those; what is well made takes a fiftieth of it
MOST_SECONDS: Final = 0.005  # of CPU for 60 characters; what is well made takes some microseconds


def endless(pattern: "re.Pattern[str]") -> str | None:
    """A text of 60 characters or fewer on which it takes more than MOST_SECONDS; None if none was found."""
    for unit in _units(_letters(pattern)):
        for length in LENGTHS:
            text = (unit * length)[:length] + "\0"
            # Twice: the first time something else, such as the garbage collector, may have had its turn.
            if _seconds(pattern, text) > MOST_SECONDS and _seconds(pattern, text) > MOST_SECONDS:
                return text[:-1]
    return None


def slow(pattern: "re.Pattern[str]", length: int) -> float | None:
    """The seconds of CPU that it may take for a text of this length, where they grow with its square, as those of
    `\\w+\\d` do; None for a pattern that is quick on all that was tried."""
    for unit in _units(_letters(pattern)):
        before = 0.0
        for tried in LONGER:
            text = (unit * tried)[:tried] + "\0"
            spent = _seconds(pattern, text)
            if spent > SLOW_SECONDS and (spent := min(spent, _seconds(pattern, text))) > max(SLOW_SECONDS, 3 * before):
                return spent * (length / tried) ** 2
            before = spent
    return None


def _letters(pattern: "re.Pattern[str]") -> list[str]:
    letters = dict.fromkeys(letter for letter in pattern.pattern if letter.isalnum() or letter in USUAL)
    return list(letters)[:MOST_LETTERS]


def _seconds(pattern: "re.Pattern[str]", text: str) -> float:
    began = time.thread_time()
    pattern.search(text)
    return time.thread_time() - began


def _units(own: list[str]) -> Iterator[str]:
    singles = list(dict.fromkeys([*own, *USUAL]))
    yield from singles
    paired = list(dict.fromkeys([*own[:MOST_PAIRED], *USUAL[:MOST_PAIRED]]))
    yield from (first + second for first in paired for second in paired if first != second)
