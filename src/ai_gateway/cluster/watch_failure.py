"""Why the gateway cannot follow a collection. Health shows it while it lasts; the log has it once a minute."""

import logging
import math
from collections.abc import Callable
from typing import Final

from ai_gateway.cluster.api import ApiFailure, StatusFailure

log = logging.getLogger("ai_gateway.cluster")

REPEAT_SECONDS: Final = 60.0  # the log has the same reason once in this time


class WatchFailure:
    """The current reason why one collection cannot be followed. Only the thread that follows it changes it.

    `description` names the collection; `clock` gives monotonic seconds.
    """

    def __init__(self, description: str, clock: Callable[[], float]) -> None:
        self._description = description
        self._clock = clock
        self._logged: tuple[str, float] = ("", -math.inf)
        self._is_logged = False  # the current reason is in the log
        self.reason: str | None = None

    def note(self, failure: ApiFailure, verb: str, keeps: bool) -> None:
        """A request failed. `verb` is what it tried; `keeps` says whether a copy exists that stays in force."""
        self.reason = _advice(failure, self._description, verb)
        status = failure.status if isinstance(failure, StatusFailure) else ""
        kind, now = f"{type(failure).__name__} {verb} {status}", self._clock()
        if self._logged[0] != kind or now - self._logged[1] >= REPEAT_SECONDS:
            self._logged, self._is_logged = (kind, now), True
            kept = "; the last known state stays in force" if keeps else ""
            log.warning("cannot follow %s%s: %s", self._description, kept, self.reason)

    def end(self) -> None:
        """The collection is followed again."""
        self.reason = None
        if self._is_logged:
            self._is_logged = False
            log.info("following %s again", self._description)


def _advice(failure: ApiFailure, words: str, verb: str) -> str:
    """The reason, with what to do about it if that is known."""
    if isinstance(failure, StatusFailure) and failure.status == 403:
        return f"the API server does not allow the gateway to {verb} {words}: grant list and watch ({failure})"
    if isinstance(failure, StatusFailure) and failure.status == 401:
        return f"the API server does not accept the gateway's credentials ({failure})"
    return str(failure)
