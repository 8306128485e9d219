"""A file that is used while another source has no content: the mounted copy of a ConfigMap, for example."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from ai_gateway.config.reason import ConfigReason, failure_reason
from ai_gateway.config.state import ConfigState, digest_of

log = logging.getLogger("ai_gateway.config")

LATE_SECONDS: Final = 10.0  # a mounted copy may lag this far behind the source
REMEMBERED: Final = 16  # contents of the source


class FallbackFile:
    """Stands between a file and the config state. The follower of the file and that of the source change it.

    The source overrides the file. The file counts from startup until the source gives content. It counts again while
    the source is unavailable, once the file has changed since: its older content is no newer than the source's.
    `clock` gives monotonic seconds; `has_file` says whether a file is followed at all.
    """

    def __init__(
        self, live: ConfigState, clock: Callable[[], float] = time.monotonic, *, has_file: bool = False
    ) -> None:
        self._state = live
        self._has_file = has_file
        self._clock = clock
        self._lock = asyncio.Lock()
        self._counts_from: float | None = -math.inf  # changes of the file count from this time on; None: none counts
        self._content: bytes | None = None
        self._changed_at = -math.inf
        self._source_digests: deque[str] = deque(
            maxlen=REMEMBERED
        )  # of the contents that the source gave, the last one at the end
        self._is_readable = False
        self._is_in_force = False  # the file's content was submitted last
        self._unseen_reason: str | None = None
        self.failure: str | None = None  # why the gateway cannot read the file

    @property
    def unseen_reason(self) -> str | None:
        """Why the gateway cannot see changes of the file; None while the file does not count."""
        return None if self._counts_from is None else self._unseen_reason

    @unseen_reason.setter
    def unseen_reason(self, sentence: str | None) -> None:
        self._unseen_reason = sentence

    @property
    def is_pending(self) -> bool:
        """Whether there is a file that was not checked yet."""
        return self._has_file and self._content is None and self.failure is None

    @property
    def is_used(self) -> bool:
        """Whether the config comes from the file now."""
        return self._is_readable and (self._counts_from == -math.inf or self._is_in_force)

    def activate(self, since: float) -> None:
        """The source is unavailable since then: later changes of the file count."""
        if self._counts_from is None:
            self._counts_from = since

    @asynccontextmanager
    async def superseded_by(self, content: bytes) -> AsyncIterator[bool]:
        """The source gives this content. Submit it within the block, so that the file cannot follow it.

        Yields whether it replaces content of the file.
        """
        async with self._lock:
            if (digest := digest_of(content)) not in list(self._source_digests)[-1:]:
                self._source_digests.append(digest)
            was_in_force, self._is_in_force, self._counts_from = self._is_in_force, False, None
            yield was_in_force

    async def submit(self, content: bytes) -> list[ConfigReason]:
        """The file has this content; returns the reasons to refuse the config."""
        if content != self._content:
            is_known = self._content is not None or self.failure is not None  # it differed before
            self._content, self._changed_at = content, self._clock() if is_known else -math.inf
        self._is_readable, self.failure = True, None
        await self._submit_if_it_counts()
        return self._state.reasons

    async def check_again(self) -> None:
        """The file did not change, but whether it counts may have changed."""
        await self._submit_if_it_counts()
        await self._state.check_again()

    def config_missing(self, reason: str) -> None:
        """The gateway cannot read the file. The follower of the source reports it if that gives nothing either."""
        self._is_readable, self.failure = False, reason

    def fail(self, failure: Exception) -> None:
        """An unexpected failure of the gateway; the log has it once."""
        sentence = failure_reason(failure)
        if sentence != self.failure:
            log.error("config: unexpected failure of the gateway itself, please report it", exc_info=failure)
        self.config_missing(sentence)

    def forget(self) -> None:
        """The next content counts as new, even if it is the same."""
        self._state.forget()

    async def _submit_if_it_counts(self) -> None:
        async with self._lock:
            if self._is_readable and self._content is not None and self._counts(self._content):
                self._is_in_force = True
                await self._state.submit(self._content)

    def _counts(self, content: bytes) -> bool:
        if self._counts_from is None or self._changed_at < self._counts_from:
            return False
        if self._changed_at >= self._counts_from + LATE_SECONDS:
            return True
        *earlier, last = self._source_digests or ("",)
        return (digest := digest_of(content)) == last or digest not in earlier
