"""Answers about tokens, kept for a while under their hashes; what many requests show is asked about once."""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ai_gateway.auth.identity import Identity, Unavailable

MOST_KEPT: Final = 10_000
MOST_ASKED: Final = 16  # tokens that are asked about at one time; a flood of nonsense must not flood who answers
MOST_WAITING: Final = 256
KNOWN_SECONDS: Final = 60.0
UNKNOWN_SECONDS: Final = 5.0
# While nobody can be asked a known caller goes on, but not for ever: its token may have been revoked.
STALE_SECONDS: Final = 600.0

# Says whose a token is and when that ends, in Unix seconds; raises Unavailable.
Ask = Callable[[bytes], Awaitable[tuple[Identity | None, float]]]


class _Kept(msgspec.Struct):
    identity: Identity | None
    fresh_until: float  # on the monotonic clock
    stale_until: float
    ends_at: float  # Unix seconds


class Remembering:
    """Wraps whoever must be asked. Changed by each answer. Both clocks are in seconds."""

    def __init__(self, ask: Ask, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._wall_clock = wall_clock
        self._kept: dict[bytes, _Kept] = {}
        self._asked: dict[bytes, asyncio.Task[Identity | None]] = {}
        self._turns = asyncio.Semaphore(MOST_ASKED)
        self.total_stale = 0  # answers that were old, since nobody could be asked

    async def identify(self, token: bytes) -> Identity | None:
        """Whose token it is. Raises Unavailable."""
        digest = hashlib.sha256(token).digest()
        kept = self._kept.get(digest)
        if kept is not None and self._clock() < kept.fresh_until:
            return kept.identity if self._wall_clock() < kept.ends_at else None
        try:
            return await self._answer(digest, token)
        except Unavailable:
            kept = self._kept.get(digest)
            if kept is None or kept.identity is None or self._clock() >= kept.stale_until:
                raise
            self.total_stale += 1
            return kept.identity if self._wall_clock() < kept.ends_at else None

    async def _answer(self, digest: bytes, token: bytes) -> Identity | None:
        """The answer to one question, however many wait for it; that one of them leaves does not end it."""
        asked = self._asked.get(digest)
        if asked is None:
            if len(self._asked) >= MOST_WAITING:
                raise Unavailable("too many unknown tokens at one time")
            asked = self._asked[digest] = asyncio.create_task(self._learn(digest, token))
            asked.add_done_callback(lambda task: self._forget(digest, task))
        return await asyncio.shield(asked)

    def _forget(self, digest: bytes, task: "asyncio.Task[Identity | None]") -> None:
        self._asked.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever waited has got it

    async def _learn(self, digest: bytes, token: bytes) -> Identity | None:
        async with self._turns:
            identity, ends_at = await self._ask(token)
        now = self._clock()
        fresh = UNKNOWN_SECONDS if identity is None else KNOWN_SECONDS
        self._kept.pop(digest, None)
        if len(self._kept) >= MOST_KEPT:
            self._drop(now)
        self._kept[digest] = _Kept(identity, now + fresh, now + STALE_SECONDS, ends_at)
        return identity

    def _drop(self, now: float) -> None:
        """Makes room: what is no longer of use goes, and of the rest the oldest tenth."""
        for digest in [digest for digest, kept in self._kept.items() if now >= kept.fresh_until]:
            del self._kept[digest]
        excess = len(self._kept) - math.floor(MOST_KEPT * 0.9)
        for digest in list(self._kept)[: max(0, excess)]:
            del self._kept[digest]
