"""A file that counts while another source has no content: the mounted copy of a ConfigMap that cannot be read."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from ai_gateway.config.reason import ConfigReason, failure_reason
from ai_gateway.config.state import OWN_FAILURE, ConfigState, digest_of
from ai_gateway.failure_log import FailureLog

log = logging.getLogger("ai_gateway.config")

LATE_SECONDS: Final = 10.0  # a mounted copy may show what the source gave before, so long after it gave something newer
REMEMBERED: Final = 16  # contents of the source


class StandIn:
    """Between a file and the config in force. Changed by who follows the file, and by who follows the source that goes
    before it.

    What the file holds is handed on where it counts: from the start until the source gives something; later, while the
    source is away, once it was changed since. What it held before is no newer than what the source gave last.
    `clock` gives monotonic seconds; `has_file` says whether anybody will look at one.
    """

    def __init__(
        self, live: ConfigState, clock: Callable[[], float] = time.monotonic, *, has_file: bool = False
    ) -> None:
        self._live = live
        self._has_file = has_file
        self._clock = clock
        self._turn = asyncio.Lock()
        self._counts_from: float | None = -math.inf  # changes of the file count from here on; None: none does
        self._content: bytes | None = None
        self._changed_at = -math.inf
        self._given: deque[str] = deque(maxlen=REMEMBERED)  # digests of what the source gave, the last one at the end
        self._failures = FailureLog(log)
        self._is_readable = False
        self._is_in_force = False  # what was offered last is the file's
        self._unseen_reason: str | None = None
        self.failure: str | None = None  # why the file cannot be read

    @property
    def unseen_reason(self) -> str | None:
        """Why a change of the file could not be seen; None while it does not count."""
        return None if self._counts_from is None else self._unseen_reason

    @unseen_reason.setter
    def unseen_reason(self, sentence: str | None) -> None:
        self._unseen_reason = sentence

    @property
    def is_awaited(self) -> bool:
        """Whether there is a file that nobody has looked at yet."""
        return self._has_file and self._content is None and self.failure is None

    @property
    def is_used(self) -> bool:
        """Whether the config is the file's now, and a change of the file is followed."""
        return self._is_readable and (self._counts_from == -math.inf or self._is_in_force)

    def step_in(self, since: float) -> None:
        """The source is away since then: what is changed in the file from then on counts."""
        if self._counts_from is None:
            self._counts_from = since

    @asynccontextmanager
    async def stepping_back(self, content: bytes) -> AsyncIterator[bool]:
        """The source gives this, to be offered within the block: nothing of the file comes after it. Tells whether it
        is the file's content that gives way."""
        async with self._turn:
            if (digest := digest_of(content)) not in list(self._given)[-1:]:
                self._given.append(digest)
            was_in_force, self._is_in_force, self._counts_from = self._is_in_force, False, None
            yield was_in_force

    async def submit(self, content: bytes) -> list[ConfigReason]:
        """The file has this content."""
        if content != self._content:
            is_known = self._content is not None or self.failure is not None  # that it was otherwise
            self._content, self._changed_at = content, self._clock() if is_known else -math.inf
        self._is_readable, self.failure = True, None
        await self._hand_on()
        return self._live.reasons

    async def check_again(self) -> None:
        """The file is as it was; whether it counts may have changed."""
        await self._hand_on()
        await self._live.check_again()

    def config_missing(self, reason: str) -> None:
        """The file cannot be read. Who follows the source says so, if that gives nothing either."""
        self._is_readable, self.failure = False, reason

    def fail(self, failure: Exception) -> None:
        """A fault of the gateway's own; in the log once."""
        self._failures.note(failure, OWN_FAILURE)
        self.config_missing(failure_reason(failure))

    def forget(self) -> None:
        """What is offered next is looked at, even if it is the same."""
        self._live.forget()

    async def _hand_on(self) -> None:
        async with self._turn:
            if self._is_readable and self._content is not None and self._counts(self._content):
                self._is_in_force = True
                await self._live.submit(self._content)

    def _counts(self, content: bytes) -> bool:
        if self._counts_from is None or self._changed_at < self._counts_from:
            return False
        if self._changed_at >= self._counts_from + LATE_SECONDS:
            return True
        *earlier, last = self._given or ("",)
        return (digest := digest_of(content)) == last or digest not in earlier
