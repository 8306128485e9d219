"""PostgreSQL stops, dies, hangs and comes back while gateways write: nothing is lost, nothing is there twice."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from tests.audit.writing import KEY, end, entry, intent
from tests.services.postgresql import PostgreSQL

from ai_gateway.audit.chain import verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.postgresql import PostgresqlStore
from ai_gateway.audit.postgresql_archive import PostgresqlArchive
from ai_gateway.audit.settings import AuditSettings
from ai_gateway.audit.spool import Spool
from ai_gateway.audit.spooled import Spooled
from ai_gateway.audit.store import StoreUnavailable
from ai_gateway.audit.writer import Writer

pytestmark = pytest.mark.services

LIMIT_SECONDS = 60


class Gateway:
    """The audit of one gateway process: a writer, a spool and a store, and what it was given."""

    def __init__(self, name: str, dsn: str, spool: Path, most: int = 64 << 20) -> None:
        self.store = Spooled(PostgresqlStore(lambda: dsn, time.time_ns), Spool(spool, most), time.monotonic)
        settings = AuditSettings(name, lambda: KEY, keep_seconds=10**7, max_bytes=2**40, signs_of_life=True)
        self.writer = Writer(self.store, settings, asyncio.get_running_loop())
        self.writer.start()
        self.given: list[str] = []
        self._name = name

    def offer(self, count: int) -> None:
        """Some entries of now."""
        for _ in range(count):
            self.given.append(f"{self._name}-{len(self.given)}")
            self.writer.enqueue(entry(at_ns=time.time_ns(), request_id=self.given[-1]))

    async def call(self) -> bool:
        """A request in strict mode; whether it was dispatched."""
        name = f"{self._name}-{len(self.given)}"
        try:
            await self.writer.durable(intent(name, at_ns=time.time_ns()))
        except StoreUnavailable:
            return False
        self.given.append(name)
        await self.writer.durable(end(name, at_ns=time.time_ns()))
        return True

    async def stop(self) -> None:
        """In order."""
        await asyncio.to_thread(self.writer.stop, LIMIT_SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    """Looks until it holds."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - a thread rings no bell
            await asyncio.sleep(0.02)


async def under_load(gateway: Gateway, act: Callable[[], Awaitable[None]]) -> None:
    """Entries keep coming while something is done, and for a moment after it."""

    async def load() -> None:
        while True:
            gateway.offer(5)
            await asyncio.sleep(0.005)

    loading = asyncio.create_task(load())
    await act()
    given = len(gateway.given)
    await until(lambda: len(gateway.given) > given + 100)
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading


def ends(dsn: str) -> list[AuditEntry]:
    """All that are listed, and proof that the chains are whole."""
    archive = PostgresqlArchive(lambda: dsn)
    pairs = [(one, digest) for one, digest in archive.chain() if isinstance(one, AuditEntry)]
    findings = list(verify(pairs, archive.checkpoints(), KEY))
    archive.close()
    assert findings == []
    return [one for one, _ in pairs if one.kind == "end"]


def assert_each_once(found: list[AuditEntry], *gateways: Gateway) -> None:
    """Every request has one end."""
    counts = Counter(one.request_id for one in found)
    assert counts == Counter(name for gateway in gateways for name in gateway.given)


async def _down(server: PostgreSQL, gateway: Gateway, end_it: Callable[[], None]) -> None:
    await until(lambda: gateway.writer.results["stored"] > 50)
    await asyncio.to_thread(end_it)
    given = len(gateway.given)
    await until(lambda: len(gateway.given) > given + 200 and gateway.store.bytes_waiting > 0)
    await asyncio.to_thread(server.start)


@pytest.mark.parametrize("way", ["stopped", "killed"])
async def test_nothing_is_lost_or_doubled_while_postgresql_is_away(
    mortal_postgresql: PostgreSQL, tmp_path: Path, way: str
) -> None:
    server = mortal_postgresql
    dsn = server.new_database()
    gateway = Gateway("gateway/1", dsn, tmp_path / "spool")
    end_it = server.stop if way == "stopped" else server.kill
    for _ in range(2):
        await under_load(gateway, partial(_down, server, gateway, end_it))
        await until(lambda: gateway.store.bytes_waiting == 0)
    await gateway.stop()
    assert_each_once(ends(dsn), gateway)
    assert gateway.writer.results["dropped"] == gateway.writer.results["failed"] == 0


async def test_a_database_that_hangs_costs_nothing_either(mortal_postgresql: PostgreSQL, tmp_path: Path) -> None:
    """It takes connections and answers nothing."""
    dsn = mortal_postgresql.new_database()
    gateway = Gateway("gateway/1", dsn, tmp_path / "spool")

    async def pause() -> None:
        await until(lambda: gateway.writer.results["stored"] > 50)
        with mortal_postgresql.paused():
            await until(lambda: gateway.store.bytes_waiting > 0)

    await under_load(gateway, pause)
    await gateway.stop()
    assert_each_once(ends(dsn), gateway)
    assert gateway.writer.results["dropped"] == 0


async def test_a_gateway_that_ends_while_postgresql_is_away_loses_nothing(
    mortal_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    dsn = mortal_postgresql.new_database()
    first = Gateway("gateway/1", dsn, tmp_path / "spool")
    first.offer(100)
    await until(lambda: first.writer.results["stored"] == 100)
    mortal_postgresql.stop()
    first.offer(300)
    await first.stop()
    second = Gateway("gateway/2", dsn, tmp_path / "spool")
    second.offer(100)
    await until(lambda: second.writer.results["stored"] == 100)
    mortal_postgresql.start()
    await until(lambda: second.store.bytes_waiting == 0)
    await second.stop()
    assert_each_once(ends(dsn), first, second)


async def test_a_strict_gateway_goes_on_within_its_spool_and_refuses_beyond_it(
    mortal_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    dsn = mortal_postgresql.new_database()
    gateway = Gateway("gateway/1", dsn, tmp_path / "spool", most=20_000)
    await until(lambda: gateway.writer.failure is None)
    assert await gateway.call()
    mortal_postgresql.kill()
    is_full = False

    async def calls() -> None:
        while not is_full and await gateway.call():
            assert len(gateway.given) < 100

    calling = asyncio.create_task(calls())
    await until(lambda: gateway.writer.failure is not None)  # an end may wait for room now
    is_full = True
    assert not await gateway.call()
    assert len(gateway.given) > 5
    mortal_postgresql.start()
    await calling
    await until(lambda: gateway.store.bytes_waiting == 0 and gateway.writer.failure is None)
    assert await gateway.call()
    await gateway.stop()
    assert_each_once(ends(dsn), gateway)
