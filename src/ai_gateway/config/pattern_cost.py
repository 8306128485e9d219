"""Finds regular expressions that take unlimited time. It tries each on short texts of growing length.

Python cannot interrupt `re`, and nothing else runs meanwhile. Nested repeats can match in too many ways, such as
`(a+)+$` on a row of `a`: one prompt would then stop the gateway for good.
"""

import re
import time
from collections.abc import Iterator
from typing import Final

USUAL: Final = "a0 A-._@/,"
MOST_LETTERS: Final = 24  # of the expression itself; it tries the first ones in pairs, too
MOST_PAIRED: Final = 5
LENGTHS: Final = range(8, 61, 2)  # in small steps: if the time doubles with each character, no step takes long
LONGER: Final = (128, 256, 512, 1024, 2048)  # of texts on which a pattern may be slow, but never for long
SLOW_SECONDS: Final = 0.002  # of CPU on one of those; a good pattern takes a fiftieth of it
TRIES: Final = 4  # of a text that seems slow
MOST_SECONDS: Final = 0.005  # of CPU for 60 characters; a good pattern takes some microseconds


def endless(pattern: "re.Pattern[str]") -> str | None:
    """A text of at most 60 characters on which it takes more than MOST_SECONDS; None if it finds none."""
    for unit in _units(_letters(pattern)):
        for length in LENGTHS:
            text = (unit * length)[:length] + "\0"
            # Twice: the garbage collector may have run during the first try.
            if _seconds(pattern, text) > MOST_SECONDS and _seconds(pattern, text) > MOST_SECONDS:
                return text[:-1]
    return None


def slow(pattern: "re.Pattern[str]", length: int) -> float | None:
    """The seconds of CPU that it may take for a text of this length; None for a pattern that is quick on all tries.

    They grow with the square of the length, as for `\\w+\\d`.
    """
    for unit in _units(_letters(pattern)):
        before = 0.0
        for tried in LONGER:
            text = (unit * tried)[:tried] + "\0"
            spent = _seconds(pattern, text)
            limit = max(SLOW_SECONDS, 3 * before)
            if spent > limit:  # again: on a busy machine CPU time varies, too
                spent = min(spent, *(_seconds(pattern, text) for _ in range(TRIES)))
            if spent > limit:
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
