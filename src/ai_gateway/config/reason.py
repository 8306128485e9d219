"""The reasons to refuse a config."""

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

MOST_REASONS: Final = 50  # per content: fix those to see the next
MOST_CHARACTERS: Final = 1000  # of a path or a message


class ConfigReason(NamedTuple):
    """The path of a key ("" for the whole file), and what is wrong there."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def bounded(reasons: Iterable[ConfigReason]) -> list[ConfigReason]:
    """The first reasons, short enough for a log and for health, without characters that these cannot write."""
    found = [ConfigReason(*map(_sound, reason)) for reason in islice(reasons, MOST_REASONS + 1)]
    if len(found) > MOST_REASONS:
        found[MOST_REASONS:] = [ConfigReason("", "there are more problems; fix these first")]
    return found


def failure_reason(failure: BaseException) -> str:
    """The reason for an unexpected failure."""
    text = " ".join(str(failure).split())
    return _sound(f"cannot be read: {type(failure).__name__}{text and f': {text}'}")


def _sound(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        text = f"{text[: MOST_CHARACTERS // 2]}…{text[-MOST_CHARACTERS // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
