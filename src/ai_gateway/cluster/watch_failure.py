"""What stands in the way of following a collection: shown as long as it does, logged once a minute."""

import logging
import math
from collections.abc import Callable
from typing import Final

from ai_gateway.cluster.api import ApiFailure, StatusFailure

log = logging.getLogger("ai_gateway.cluster")

REPEAT_SECONDS: Final = 60.0  # the same complaint is logged once in this time


class WatchFailure:
    """The present complaint about one collection, for people. Changed by the thread that follows it.

    `words` name the collection; `clock` gives monotonic seconds.
    """

    def __init__(self, words: str, clock: Callable[[], float]) -> None:
        self._words = words
        self._clock = clock
        self._logged: tuple[str, float] = ("", -math.inf)
        self._is_told = False  # the present complaint stands in the log
        self.reason: str | None = None

    def note(self, failure: ApiFailure, verb: str, keeps: bool) -> None:
        """A request failed; `verb` is what it wanted, `keeps` whether something is known that stays in force."""
        self.reason = _advice(failure, self._words, verb)
        status = failure.status if isinstance(failure, StatusFailure) else ""
        kind, now = f"{type(failure).__name__} {verb} {status}", self._clock()
        if self._logged[0] != kind or now - self._logged[1] >= REPEAT_SECONDS:
            self._logged, self._is_told = (kind, now), True
            kept = "; what is known stays in force" if keeps else ""
            log.warning("cannot follow %s%s: %s", self._words, kept, self.reason)

    def end(self) -> None:
        """It is followed again."""
        self.reason = None
        if self._is_told:
            self._is_told = False
            log.info("following %s again", self._words)


def _advice(failure: ApiFailure, words: str, verb: str) -> str:
    """The complaint, with what to do about it where that is known."""
    if isinstance(failure, StatusFailure) and failure.status == 403:
        return f"the API server does not allow to {verb} {words}: grant list and watch ({failure})"
    if isinstance(failure, StatusFailure) and failure.status == 401:
        return f"the API server does not accept the credentials ({failure})"
    return str(failure)
