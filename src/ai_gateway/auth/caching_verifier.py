"""Answers about tokens, kept for a while under their hashes; what many requests show is asked about once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ai_gateway.auth.identity import Identity, Unavailable

MOST_KEPT: Final = 10_000
MOST_ASKED: Final = 4  # of the known and of the others at one time; a flood of nonsense must not flood who answers
MOST_WAITING: Final = 256
KNOWN_SECONDS: Final = 60.0
UNKNOWN_SECONDS: Final = 5.0
# While nobody can be asked a known caller goes on, but not for ever: its token may have been revoked.
STALE_SECONDS: Final = 600.0
PATIENCE_SECONDS: Final = 1.0  # of a known caller with who should answer
AWAY_SECONDS: Final = 5.0  # that nobody known waits again after a failure

# Says whose a token is and when that ends, in Unix seconds; raises Unavailable.
Ask = Callable[[bytes], Awaitable[tuple[Identity | None, float]]]
Task = asyncio.Task[Identity | None]


class _Verified(msgspec.Struct):
    identity: Identity | None
    fresh_until: float  # on the monotonic clock
    stale_until: float
    ends_at: float  # Unix seconds


class CachingVerifier:
    """Wraps whoever must be asked. Changed by each answer. Both clocks are in seconds.

    Tokens that were known once are asked about in turns of their own: a flood of others must neither keep a revoked
    one alive nor lock out a good one.
    """

    def __init__(self, ask: Ask, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._wall_clock = wall_clock
        self._kept: dict[bytes, _Verified] = {}
        self._asked: dict[bytes, Task] = {}
        self._strangers = 0  # unknown tokens that are asked about or wait for it
        self._turns = {False: asyncio.Semaphore(MOST_ASKED), True: asyncio.Semaphore(MOST_ASKED)}  # by: was known
        self._away_until = float("-inf")

    async def identify(self, token: bytes) -> Identity | None:
        """Whose token it is. Raises Unavailable."""
        digest = hashlib.sha256(token).digest()
        kept, now = self._kept.get(digest), self._clock()
        if kept is not None and now < kept.fresh_until:
            return self._if_not_over(kept)
        if kept is None or kept.identity is None or now >= kept.stale_until:
            return await asyncio.shield(self._asking(digest, token, was_known=False))
        return await self._again(digest, token, kept)

    async def _again(self, digest: bytes, token: bytes, kept: _Verified) -> Identity | None:
        """About a token that was known: a new answer if there is one soon, else the old one."""
        asked = self._asking(digest, token, was_known=True)
        if self._clock() < self._away_until and not asked.done():
            return self._if_not_over(kept)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await asyncio.shield(asked)
        except TimeoutError:
            self._away_until = self._clock() + AWAY_SECONDS
        except Unavailable:
            pass
        return self._if_not_over(kept)

    def _if_not_over(self, kept: _Verified) -> Identity | None:
        return kept.identity if self._wall_clock() < kept.ends_at else None

    def _asking(self, digest: bytes, token: bytes, *, was_known: bool) -> Task:
        """The question, however many wait for its answer; that one of them leaves does not end it."""
        asked = self._asked.get(digest)
        if asked is None:
            if not was_known and self._strangers >= MOST_WAITING:
                raise Unavailable("too many unknown tokens at one time")
            self._strangers += not was_known
            asked = self._asked[digest] = asyncio.create_task(self._learn(digest, token, was_known))
            asked.add_done_callback(lambda task: self._forget(digest, task, was_known))
        return asked

    def _forget(self, digest: bytes, task: Task, was_known: bool) -> None:
        self._strangers -= not was_known
        self._asked.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever waited has got it

    async def _learn(self, digest: bytes, token: bytes, was_known: bool) -> Identity | None:
        async with self._turns[was_known]:
            try:
                identity, ends_at = await self._ask(token)
            except Unavailable:
                self._away_until = self._clock() + AWAY_SECONDS
                raise
        self._away_until = float("-inf")
        now = self._clock()
        fresh = UNKNOWN_SECONDS if identity is None else KNOWN_SECONDS
        self._kept.pop(digest, None)
        if len(self._kept) >= MOST_KEPT:
            self._drop(now)
        self._kept[digest] = _Verified(identity, now + fresh, now + STALE_SECONDS, ends_at)
        return identity

    def _drop(self, now: float) -> None:
        """Makes room: what is no longer of use goes, and of the rest the oldest tenth."""
        for digest in [digest for digest, kept in self._kept.items() if now >= kept.fresh_until]:
            del self._kept[digest]
        for digest in list(self._kept)[: max(0, len(self._kept) - MOST_KEPT * 9 // 10)]:
            del self._kept[digest]
