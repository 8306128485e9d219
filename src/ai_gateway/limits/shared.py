"""Counts in a Redis or Valkey that all gateways share. One round trip for a check, another one after the answer.

The `redis` library is imported, in a thread, when a store starts. A check that is not answered in time is left to the
gateway's own counts, as all are until Redis answers again; what Redis still makes of it later is taken back.
"""

import asyncio
import logging
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ai_gateway.config.limits import Redis
from ai_gateway.config.reading import read_text
from ai_gateway.limits.account import Account, Instant, shortage
from ai_gateway.limits.admission import Counts, Grant, LimitExceeded
from ai_gateway.limits.rates import DAY_SECONDS, MINUTE_SECONDS
from ai_gateway.limits.rules import LimitRule
from ai_gateway.limits.scripts import ADMIT, SETTLE

if TYPE_CHECKING:
    from redis.asyncio import Redis as Client

log = logging.getLogger("ai_gateway.limits")

CONNECT_SECONDS: Final = 1.0  # also for an answer that nobody waits for any more
SHORTEST_BACKOFF_SECONDS: Final = 0.1
LONGEST_BACKOFF_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 10.0  # that Redis must have answered for until its next absence is a new one
MOST_CONNECTIONS: Final = 64
LEAVE_SECONDS: Final = 1.0  # for what is still to be settled when the gateway leaves
# An answer that says no where the arithmetic here says yes: the last digits differ.
LEAST_WAIT_SECONDS: Final = 0.001


class RedisCheck(msgspec.Struct, frozen=True):
    """One check: what Redis is told of a call."""

    rules: Sequence[LimitRule]
    tokens: int
    lease: str
    lease_seconds: float


class RedisGrant:
    """See Grant."""

    __slots__ = ("_asked", "_shared", "counts")

    def __init__(self, shared: "Shared", asked: RedisCheck, counts: Counts) -> None:
        self._shared = shared
        self._asked: RedisCheck | None = asked
        self.counts = counts

    def settle(self, tokens: int) -> None:
        """See Grant."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self._shared.settle(asked, tokens, self.counts.instant.today)

    def take_back(self) -> None:
        """See Grant."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self._shared.settle(asked, 0, self.counts.instant.today, was_made=False)


class Shared:
    """One Redis. Changed by calls and by its own tasks.

    `is_away` until it answers after `start`, and from a failure on until it answers again; `complaint` says why.
    """

    def __init__(self, settings: Redis) -> None:
        self.settings = settings
        self.is_away = True
        self.reason: str | None = None
        self._client: Client | None = None
        self._admit: Any = None
        self._settle: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self._backoff = SHORTEST_BACKOFF_SECONDS
        self._answered_at = -math.inf

    def __repr__(self) -> str:
        return f"<Shared at {self.settings.url}{', away' if self.is_away else ''}>"

    def start(self) -> None:
        """Begins to look for it; needs a running event loop."""
        self._begin(self._check())

    async def admit(
        self, rules: Sequence[LimitRule], tokens: int, lease_seconds: float
    ) -> Grant | LimitExceeded | None:
        """As Memory's; a call that never ends here is forgotten after `lease_seconds`. None: Redis is away."""
        if self.is_away or self._is_closed:
            return None
        asked = RedisCheck(rules, tokens, os.urandom(12).hex(), lease_seconds)
        asking = self._begin(self._ask(asked))
        try:
            await asyncio.wait((asking,), timeout=self.settings.timeout)
        except asyncio.CancelledError:
            asking.add_done_callback(self._take_back(asked))
            raise
        if not asking.done():
            asking.add_done_callback(self._take_back(asked))
            self._lost(TimeoutError(f"no answer within {self.settings.timeout:g} s"))
            return None
        failure = asking.exception()
        if failure is not None:
            self._lost(failure)
            return None
        return self._verdict(asked, asking.result())

    def settle(self, asked: RedisCheck, tokens: int, day: int, *, was_made: bool = True) -> None:
        """Sends what a call used, or that it was not made; nobody waits for it."""
        if not self._is_closed:
            self._begin(self._send_settlement(asked, tokens, day, was_made))

    async def close(self) -> None:
        """Ends what is under way soon, and the connections."""
        self._is_closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.0 if self.is_away else LEAVE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disconnect()

    def _begin(self, work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # is looked at by whoever waits; nobody may

    async def _ask(self, asked: RedisCheck) -> list[Any]:
        arguments: list[Any] = [asked.tokens, asked.lease, f"{asked.lease_seconds:.3f}"]
        for rule in asked.rules:
            rates = rule.rates
            arguments += (repr(rates.request_seconds), repr(rates.token_seconds), rates.concurrent, rates.day_tokens)
        answer: list[Any] = await self._admit(self._keys(asked), arguments)
        return answer

    async def _send_settlement(self, asked: RedisCheck, tokens: int, day: int, was_made: bool) -> None:
        arguments: list[Any] = [tokens, asked.lease]
        for rule in asked.rules:
            seconds, limit = rule.rates.token_seconds, rule.rates.day_tokens
            arguments += (repr(seconds), repr(min(asked.tokens * seconds, MINUTE_SECONDS)), day)
            arguments += (min(asked.tokens, limit), repr(0.0 if was_made else rule.rates.request_seconds))
        try:
            await self._settle(self._keys(asked), arguments)
        except Exception as failure:  # whatever it is: the lease ends and minutes drain without it
            self._lost(failure)

    def _keys(self, asked: RedisCheck) -> list[str]:
        bases = (f"{self.settings.prefix}:{{limits}}:{rule.scope}" for rule in asked.rules)
        return [key for base in bases for key in (base, f"{base}:calls")]

    def _take_back(self, asked: RedisCheck) -> "Callable[[asyncio.Task[Any]], None]":
        def take_back(asking: "asyncio.Task[Any]") -> None:
            if not asking.cancelled() and asking.exception() is None and int(asking.result()[0]):
                self.settle(asked, 0, int(asking.result()[2]), was_made=False)

        return take_back

    def _verdict(self, asked: RedisCheck, answer: list[Any]) -> Grant | LimitExceeded:
        now = float(answer[1])
        instant = Instant(now, int(answer[2]), DAY_SECONDS - now % DAY_SECONDS)
        accounts = [_account(answer[at : at + 4], instant) for at in range(3, len(answer), 4)]
        counts = Counts(asked.rules, accounts, instant)
        if int(answer[0]):
            return RedisGrant(self, asked, counts)
        found = [
            (short[1], short[0], rule)
            for rule, account in zip(asked.rules, accounts, strict=True)
            if (short := shortage(rule.rates, account, asked.tokens, instant)) is not None
        ]
        if not found:
            return LimitExceeded("rpm", asked.rules[0], LEAST_WAIT_SECONDS, counts)
        wait, kind, rule = max(found, key=lambda one: one[0])
        return LimitExceeded(kind, rule, wait, counts)

    def _lost(self, failure: BaseException) -> None:
        """From here on nobody asks, until the task that looks for Redis has found it."""
        if not self.is_away and not self._is_closed:
            self.is_away = True
            self._complain(failure)
            if monotonic() - self._answered_at > STEADY_SECONDS:
                self._backoff = SHORTEST_BACKOFF_SECONDS
            self._begin(self._check(self._backoff))

    def _complain(self, failure: BaseException) -> None:
        if self.reason is None:
            log.warning("limits: Redis is away, each gateway counts its share: %s", failure or type(failure).__name__)
        self.reason = str(failure) or type(failure).__name__

    async def _check(self, pause_seconds: float = 0.0) -> None:
        """Tries until it answers, as soon as a check wants it to."""
        while not self._is_closed:
            await asyncio.sleep(pause_seconds)
            pause_seconds = self._backoff
            self._backoff = min(self._backoff * 2, LONGEST_BACKOFF_SECONDS)
            try:
                await self._disconnect()  # a password that was rotated is read anew
                client = await asyncio.to_thread(self._connect)
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.ping()
                async with asyncio.timeout(self.settings.timeout):
                    await client.ping()
            except Exception as failure:  # whatever it is, it is away
                self._complain(failure)
            else:
                self.is_away, self.reason = False, None
                self._answered_at = monotonic()
                log.info("limits: counted together in Redis")
                return

    def _connect(self) -> "Client":
        """In a thread, since it imports a library and reads a file; connections are made as they are needed."""
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio import Redis as Client

        settings = self.settings
        password = read_text(Path(settings.password_file)) if settings.password_file else None
        options: dict[str, Any] = {"ssl_ca_certs": settings.ca_file} if settings.ca_file else {}
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            settings.url,
            username=settings.username,
            password=password,
            max_connections=MOST_CONNECTIONS,
            timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            **options,
        )
        self._client = Client.from_pool(pool)
        self._admit = self._client.register_script(ADMIT)
        self._settle = self._client.register_script(SETTLE)
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # it is given up, however that ends
                await client.aclose()


def _account(told: Sequence[Any], instant: Instant) -> Account:
    account = Account()
    account.requests_until, account.tokens_until = float(told[0]), float(told[1])
    account.running, account.day, account.day_tokens = int(told[2]), instant.today, int(told[3])
    return account
