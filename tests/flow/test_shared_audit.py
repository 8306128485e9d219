"""Gateways that share PostgreSQL, as whole programs: each tells what all of them did."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.audit.writing import KEY
from tests.flow.world import Served, World
from tests.services.fixtures import mortal_postgresql
from tests.services.postgresql import PostgreSQL

from ai_gateway.audit.chain import verify
from ai_gateway.audit.postgresql_archive import PostgresqlArchive

__all__ = ["mortal_postgresql"]
pytestmark = pytest.mark.services


@pytest.fixture
def dsn(mortal_postgresql: PostgreSQL) -> str:
    """Of an empty database."""
    return mortal_postgresql.new_database()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the key that all gateways share."""
    (tmp_path / "key").write_bytes(KEY)
    return tmp_path


def audit(folder: Path, dsn: str, name: str, **more: Any) -> dict[str, Any]:
    """The section of one gateway."""
    place = {"store": "postgresql", "dsn": dsn, "key_file": str(folder / "key"), "spool": str(folder / name)}
    return {**place, "allow_unauthenticated_reads": True, "checkpoints": "none", **more}


async def listed(served: Served, query: str = "limit=1000") -> list[dict[str, Any]]:
    """The calls that a gateway tells of; none where it cannot ask."""
    reply = await served.ask("GET", f"/v1/audit/logs?{query}")
    if reply.status == 503:
        return []
    assert reply.status == 200, reply.body
    assert "complete" not in reply.json
    return [one for one in reply.json["data"] if one["method"] == "POST"]


async def listed_once_there(served: Served, count: int) -> list[dict[str, Any]]:
    """The calls, once the audit has so many. The gateway tries a store that is away again after 10 s at most."""
    async with asyncio.timeout(40):
        while True:
            found = await listed(served)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


def is_whole(dsn: str) -> bool:
    """Whether every chain verifies."""
    archive = PostgresqlArchive(lambda: dsn)
    failures = list(verify(archive.chain(), archive.checkpoints(), KEY))
    archive.close()
    return not failures


@pytest.mark.parametrize("mode", ["best_effort", "blocking", "strict"])
async def test_each_gateway_tells_of_the_calls_of_all(world: World, folder: Path, dsn: str, mode: str) -> None:
    simulator = await world.simulator()
    gateways = [
        await world.gateway(simulator.urls, audit=audit(folder, dsn, name, mode=mode)) for name in ("one", "two")
    ]
    for served in gateways:
        for _ in range(3):
            assert (await served.chat()).status == 200
        await served.chat(model="nope")
    for served in gateways:
        entries = await listed_once_there(served, 8)
        assert sorted(one["status"] for one in entries) == [200] * 6 + [404] * 2
        assert len({one["writer"] for one in entries}) == 2
        assert len(await listed(served, "status=404")) == 2
    assert is_whole(dsn)


@pytest.mark.parametrize("mode", ["best_effort", "strict"])
async def test_calls_go_on_while_postgresql_is_away_and_have_entries_later(
    world: World, folder: Path, mortal_postgresql: PostgreSQL, dsn: str, mode: str
) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, audit=audit(folder, dsn, "one", mode=mode))
    assert (await served.chat()).status == 200
    await asyncio.to_thread(mortal_postgresql.kill)
    for _ in range(5):
        assert (await served.chat()).status == 200
    assert (await served.ask("GET", "/v1/audit/logs")).status == 503
    await asyncio.to_thread(mortal_postgresql.start)
    assert (await served.chat()).status == 200
    assert [one["outcome"] for one in await listed_once_there(served, 7)] == ["ok"] * 7
    assert is_whole(dsn)


async def test_a_gateway_starts_while_postgresql_is_away(
    world: World, folder: Path, mortal_postgresql: PostgreSQL, dsn: str
) -> None:
    await asyncio.to_thread(mortal_postgresql.stop)
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, audit=audit(folder, dsn, "one", mode="strict"))
    assert (await served.chat()).status == 200
    await asyncio.to_thread(mortal_postgresql.start)
    assert (await served.chat()).status == 200
    assert len(await listed_once_there(served, 2)) == 2
