"""Caches verification results by the hash of the token. Concurrent requests with one token verify it once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ai_gateway.auth.identity import Identity, Unavailable

MOST_KEPT: Final = 10_000
MOST_CONCURRENT: Final = (
    4  # at a time, of known and of unknown tokens each; a flood of bad tokens must not flood the verifier
)
MOST_WAITING: Final = 256
KNOWN_SECONDS: Final = 60.0
UNKNOWN_SECONDS: Final = 5.0
# While the verifier is unavailable, known callers may go on, but not for ever: a token may have been revoked.
STALE_SECONDS: Final = 600.0
PATIENCE_SECONDS: Final = 1.0  # longest wait of a known caller for the verifier
UNAVAILABLE_SECONDS: Final = 5.0  # after a failure known callers do not wait again for this long

# Returns the identity for a token and when it expires, in Unix seconds. Raises Unavailable.
Verify = Callable[[bytes], Awaitable[tuple[Identity | None, float]]]
Task = asyncio.Task[Identity | None]


class _Verified(msgspec.Struct):
    identity: Identity | None
    fresh_until: float  # on the monotonic clock
    stale_until: float
    ends_at: float  # Unix seconds


class CachingVerifier:
    """Wraps a verifier. Every result changes the cache. Both clocks give seconds.

    Tokens that were known before have their own limit. A flood of unknown ones must neither keep a revoked token alive
    nor lock out a good one.
    """

    def __init__(self, verify: Verify, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._verify = verify
        self._clock = clock
        self._wall_clock = wall_clock
        self._kept: dict[bytes, _Verified] = {}
        self._running: dict[bytes, Task] = {}
        self._unknown_count = 0  # unknown tokens under verification, or waiting for it
        self._semaphores = {
            False: asyncio.Semaphore(MOST_CONCURRENT),
            True: asyncio.Semaphore(MOST_CONCURRENT),
        }  # by `was_known`
        self._unavailable_until = float("-inf")

    async def identify(self, token: bytes) -> Identity | None:
        """The identity for a token, None if it is invalid. Raises Unavailable."""
        digest = hashlib.sha256(token).digest()
        kept, now = self._kept.get(digest), self._clock()
        if kept is not None and now < kept.fresh_until:
            return self._if_not_expired(kept)
        if kept is None or kept.identity is None or now >= kept.stale_until:
            return await asyncio.shield(self._verification(digest, token, was_known=False))
        return await self._reverify(digest, token, kept)

    async def _reverify(self, digest: bytes, token: bytes, kept: _Verified) -> Identity | None:
        """For a known token: the new result if it comes soon, else the old one."""
        verification = self._verification(digest, token, was_known=True)
        if self._clock() < self._unavailable_until and not verification.done():
            return self._if_not_expired(kept)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(verification)
        except TimeoutError:
            self._unavailable_until = self._clock() + UNAVAILABLE_SECONDS
        except Unavailable:
            pass
        return self._if_not_expired(kept)

    def _if_not_expired(self, kept: _Verified) -> Identity | None:
        return kept.identity if self._wall_clock() < kept.ends_at else None

    def _verification(self, digest: bytes, token: bytes, *, was_known: bool) -> Task:
        """The task that verifies a token. All requests with the token share it; one that leaves does not end it."""
        running = self._running.get(digest)
        if running is None:
            if not was_known and self._unknown_count >= MOST_WAITING:
                raise Unavailable("too many unknown tokens at a time")
            self._unknown_count += not was_known
            running = self._running[digest] = asyncio.create_task(self._verify_and_keep(digest, token, was_known))
            running.add_done_callback(lambda task: self._forget(digest, task, was_known))
        return running

    def _forget(self, digest: bytes, task: Task, was_known: bool) -> None:
        self._unknown_count -= not was_known
        self._running.pop(digest, None)
        if not task.cancelled():
            task.exception()  # those who waited have it

    async def _verify_and_keep(self, digest: bytes, token: bytes, was_known: bool) -> Identity | None:
        async with self._semaphores[was_known]:
            try:
                identity, ends_at = await self._verify(token)
            except Unavailable:
                self._unavailable_until = self._clock() + UNAVAILABLE_SECONDS
                raise
        self._unavailable_until = float("-inf")
        now = self._clock()
        fresh = UNKNOWN_SECONDS if identity is None else KNOWN_SECONDS
        self._kept.pop(digest, None)
        if len(self._kept) >= MOST_KEPT:
            self._drop(now)
        self._kept[digest] = _Verified(identity, now + fresh, now + STALE_SECONDS, ends_at)
        return identity

    def _drop(self, now: float) -> None:
        """Makes room: drops expired entries, and of the rest the oldest tenth."""
        for digest in [digest for digest, kept in self._kept.items() if now >= kept.fresh_until]:
            del self._kept[digest]
        for digest in list(self._kept)[: max(0, len(self._kept) - MOST_KEPT * 9 // 10)]:
            del self._kept[digest]
