"""What a config is refused for."""

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

MOST_COMPLAINTS: Final = 50  # of one content: who mends those sees the next
MOST_CHARACTERS: Final = 1000  # of a path or a message


class Complaint(NamedTuple):
    """What is wrong, and the path of the key it is wrong with ("" for the whole file)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def bounded(complaints: Iterable[Complaint]) -> list[Complaint]:
    """The first of them, short enough for a log and for health, and of characters that both can write."""
    found = [Complaint(*map(_sound, complaint)) for complaint in islice(complaints, MOST_COMPLAINTS + 1)]
    if len(found) > MOST_COMPLAINTS:
        found[MOST_COMPLAINTS:] = [Complaint("", "there is more that is wrong; mend this first")]
    return found


def fault_in_words(fault: BaseException) -> str:
    """A complaint about what nobody foresaw."""
    told = " ".join(str(fault).split())
    return _sound(f"cannot be read: {type(fault).__name__}{told and f': {told}'}")


def _sound(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        text = f"{text[: MOST_CHARACTERS // 2]}…{text[-MOST_CHARACTERS // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
