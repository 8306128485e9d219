"""Unexpected failures of threads and loops: the log has each kind once, with its traceback.

A thread that fails in each iteration would write a traceback every second. Metrics and health show the other
failures.
"""

import logging
import traceback
from pathlib import Path
from typing import Final

MOST_KINDS: Final = 100  # in the log; a program has few places to fail at

_PACKAGE: Final = str(Path(__file__).parent)

Place = tuple[str, int]
Kind = tuple[type[BaseException], Place, Place]


class FailureLog:
    """The failures of one thread or loop.

    A kind is a type of exception, the line that raised it, and the gateway's line that led there.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._known: set[Kind] = set()

    def note(self, failure: BaseException, message: str, *arguments: object) -> None:
        """Logs a failure of a new kind: the message, formatted as in `logging`, and the traceback."""
        if self.is_new(failure):
            self._log.error(f"{message} (logged once)", *arguments, exc_info=failure, stacklevel=2)

    def is_new(self, failure: BaseException) -> bool:
        """Whether this is the first failure of its kind. Afterwards the kind is known."""
        kind = _kind(failure)
        if kind in self._known or len(self._known) >= MOST_KINDS:
            return False
        self._known.add(kind)
        return True


def _kind(failure: BaseException) -> Kind:
    """The kind of a failure; for a group, the kind of its first part, since the group itself says nothing."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    raised: Place = ("", 0)
    ours: Place = ("", 0)
    for frame, number in traceback.walk_tb(failure.__traceback__):
        raised = frame.f_code.co_filename, number
        if raised[0].startswith(_PACKAGE):
            ours = raised
    return type(failure), ours, raised
