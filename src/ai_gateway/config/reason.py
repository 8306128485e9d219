"""What a config is refused for."""

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

MOST_REASONS: Final = 50  # of one content: who mends those sees the next
MOST_CHARACTERS: Final = 1000  # of a path or a message


class ConfigReason(NamedTuple):
    """What is wrong, and the path of the key it is wrong with ("" for the whole file)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def bounded(reasons: Iterable[ConfigReason]) -> list[ConfigReason]:
    """The first of them, short enough for a log and for health, and of characters that both can write."""
    found = [ConfigReason(*map(_sound, reason)) for reason in islice(reasons, MOST_REASONS + 1)]
    if len(found) > MOST_REASONS:
        found[MOST_REASONS:] = [ConfigReason("", "there is more that is wrong; mend this first")]
    return found


def failure_reason(failure: BaseException) -> str:
    """A complaint about what nobody foresaw."""
    told = " ".join(str(failure).split())
    return _sound(f"cannot be read: {type(failure).__name__}{told and f': {told}'}")


def _sound(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        text = f"{text[: MOST_CHARACTERS // 2]}…{text[-MOST_CHARACTERS // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
