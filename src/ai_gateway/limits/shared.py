"""Counts in a Redis or Valkey that all gateways share. A check takes one round trip, the settlement another one.

A thread imports the `redis` library when a store starts. If Redis does not answer a check in time, the gateway's own
counts decide, for this call and all others until Redis answers again. A late answer to the check is taken back.
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

CONNECT_SECONDS: Final = 1.0  # also for answers that no call waits for any more
SHORTEST_BACKOFF_SECONDS: Final = 0.1
LONGEST_BACKOFF_SECONDS: Final = 5.0
STABLE_SECONDS: Final = 10.0  # after this long without a failure the backoff starts again
MOST_CONNECTIONS: Final = 64
LEAVE_SECONDS: Final = 1.0  # for open settlements at shutdown
# If Redis refuses a call that our arithmetic admits: the last digits differ.
LEAST_WAIT_SECONDS: Final = 0.001


class RedisCheck(msgspec.Struct, frozen=True):
    """One check: what the gateway sends to Redis about a call."""

    rules: Sequence[LimitRule]
    tokens: int
    lease: str
    lease_seconds: float


class RedisGrant:
    """See Grant."""

    __slots__ = ("_check", "_shared", "counts")

    def __init__(self, shared: "Shared", check: RedisCheck, counts: Counts) -> None:
        self._shared = shared
        self._check: RedisCheck | None = check
        self.counts = counts

    def settle(self, tokens: int) -> None:
        """See Grant."""
        check, self._check = self._check, None
        if check is not None:
            self._shared.settle(check, tokens, self.counts.instant.today)

    def take_back(self) -> None:
        """See Grant."""
        check, self._check = self._check, None
        if check is not None:
            self._shared.settle(check, 0, self.counts.instant.today, was_made=False)


class Shared:
    """One Redis. Calls and its own tasks change it.

    `is_unavailable` is true from `start` until Redis answers, and from a failure until it answers again. `reason` says
    why.
    """

    def __init__(self, settings: Redis) -> None:
        self.settings = settings
        self.is_unavailable = True
        self.reason: str | None = None
        self._client: Client | None = None
        self._admit: Any = None
        self._settle: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self._backoff = SHORTEST_BACKOFF_SECONDS
        self._answered_at = -math.inf

    def __repr__(self) -> str:
        return f"<Shared at {self.settings.url}{', unavailable' if self.is_unavailable else ''}>"

    def start(self) -> None:
        """Starts to connect. Needs a running event loop."""
        self._begin(self._reconnect())

    async def admit(
        self, rules: Sequence[LimitRule], tokens: int, lease_seconds: float
    ) -> Grant | LimitExceeded | None:
        """As Memory's. Redis forgets a call that never ends after `lease_seconds`. None: Redis is unavailable."""
        if self.is_unavailable or self._is_closed:
            return None
        check = RedisCheck(rules, tokens, os.urandom(12).hex(), lease_seconds)
        pending = self._begin(self._send_check(check))
        try:
            await asyncio.wait((pending,), timeout=self.settings.timeout)
        except asyncio.CancelledError:
            pending.add_done_callback(self._take_back(check))
            raise
        if not pending.done():
            pending.add_done_callback(self._take_back(check))
            self._mark_unavailable(TimeoutError(f"no answer within {self.settings.timeout:g} s"))
            return None
        failure = pending.exception()
        if failure is not None:
            self._mark_unavailable(failure)
            return None
        return self._outcome(check, pending.result())

    def settle(self, check: RedisCheck, tokens: int, day: int, *, was_made: bool = True) -> None:
        """Sends what a call used, or that it was not made. Does not wait."""
        if not self._is_closed:
            self._begin(self._send_settlement(check, tokens, day, was_made))

    async def close(self) -> None:
        """Ends running tasks soon, and closes the connections."""
        self._is_closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.0 if self.is_unavailable else LEAVE_SECONDS)
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
            task.exception()  # marks it as seen: perhaps no call waits for it

    async def _send_check(self, check: RedisCheck) -> list[Any]:
        arguments: list[Any] = [check.tokens, check.lease, f"{check.lease_seconds:.3f}"]
        for rule in check.rules:
            rates = rule.rates
            arguments += (repr(rates.request_seconds), repr(rates.token_seconds), rates.concurrent, rates.day_tokens)
        answer: list[Any] = await self._admit(self._keys(check), arguments)
        return answer

    async def _send_settlement(self, check: RedisCheck, tokens: int, day: int, was_made: bool) -> None:
        arguments: list[Any] = [tokens, check.lease]
        for rule in check.rules:
            seconds, limit = rule.rates.token_seconds, rule.rates.day_tokens
            arguments += (repr(seconds), repr(min(check.tokens * seconds, MINUTE_SECONDS)), day)
            arguments += (min(check.tokens, limit), repr(0.0 if was_made else rule.rates.request_seconds))
        try:
            await self._settle(self._keys(check), arguments)
        except Exception as failure:  # the lease ends and minutes drain without it
            self._mark_unavailable(failure)

    def _keys(self, check: RedisCheck) -> list[str]:
        bases = (f"{self.settings.prefix}:{{limits}}:{rule.scope}" for rule in check.rules)
        return [key for base in bases for key in (base, f"{base}:calls")]

    def _take_back(self, check: RedisCheck) -> "Callable[[asyncio.Task[Any]], None]":
        def take_back(finished: "asyncio.Task[Any]") -> None:
            if not finished.cancelled() and finished.exception() is None and int(finished.result()[0]):
                self.settle(check, 0, int(finished.result()[2]), was_made=False)

        return take_back

    def _outcome(self, check: RedisCheck, answer: list[Any]) -> Grant | LimitExceeded:
        now = float(answer[1])
        instant = Instant(now, int(answer[2]), DAY_SECONDS - now % DAY_SECONDS)
        accounts = [_account(answer[at : at + 4], instant) for at in range(3, len(answer), 4)]
        counts = Counts(check.rules, accounts, instant)
        if int(answer[0]):
            return RedisGrant(self, check, counts)
        found = [
            (short[1], short[0], rule)
            for rule, account in zip(check.rules, accounts, strict=True)
            if (short := shortage(rule.rates, account, check.tokens, instant)) is not None
        ]
        if not found:
            return LimitExceeded("rpm", check.rules[0], LEAST_WAIT_SECONDS, counts)
        wait, kind, rule = max(found, key=lambda one: one[0])
        return LimitExceeded(kind, rule, wait, counts)

    def _mark_unavailable(self, failure: BaseException) -> None:
        """Stops all checks until the reconnect task has found Redis again."""
        if not self.is_unavailable and not self._is_closed:
            self.is_unavailable = True
            self._note_failure(failure)
            if monotonic() - self._answered_at > STABLE_SECONDS:
                self._backoff = SHORTEST_BACKOFF_SECONDS
            self._begin(self._reconnect(self._backoff))

    def _note_failure(self, failure: BaseException) -> None:
        if self.reason is None:
            log.warning(
                "limits: Redis is unavailable, each gateway counts its share: %s", failure or type(failure).__name__
            )
        self.reason = str(failure) or type(failure).__name__

    async def _reconnect(self, pause_seconds: float = 0.0) -> None:
        """Retries until Redis answers within the timeout of a check."""
        while not self._is_closed:
            await asyncio.sleep(pause_seconds)
            pause_seconds = self._backoff
            self._backoff = min(self._backoff * 2, LONGEST_BACKOFF_SECONDS)
            try:
                await self._disconnect()  # so that it reads a rotated password
                client = await asyncio.to_thread(self._connect)
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.ping()
                async with asyncio.timeout(self.settings.timeout):
                    await client.ping()
            except Exception as failure:  # Redis is unavailable, whatever the cause
                self._note_failure(failure)
            else:
                self.is_unavailable, self.reason = False, None
                self._answered_at = monotonic()
                log.info("limits: all gateways count together in Redis")
                return

    def _connect(self) -> "Client":
        """Runs in a thread, since it imports a library and reads a file. The pool connects when a call needs it."""
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
            socket_timeout=max(CONNECT_SECONDS, settings.timeout),
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
            with suppress(Exception):  # the connection is given up anyway
                await client.aclose()


def _account(fields: Sequence[Any], instant: Instant) -> Account:
    account = Account()
    account.requests_until, account.tokens_until = float(fields[0]), float(fields[1])
    account.running, account.day, account.day_tokens = int(fields[2]), instant.today, int(fields[3])
    return account
