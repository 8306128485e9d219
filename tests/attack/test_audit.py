"""What is done to the audit of a running gateway, and to its files between two starts."""

import asyncio
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.attack.auditing import (
    LOSSES,
    NOTICED,
    audited,
    command_line,
    database,
    deleted,
    moved,
    replaced_by_a_fifo,
    replaced_by_a_folder,
    rows,
    verified,
)
from tests.attack.command import serving
from tests.attack.table import Tried
from tests.flow.test_audit_killed import hang
from tests.flow.waiting import until
from tests.flow.world import CHAT, World, chat, config


@pytest.mark.parametrize("mode", ["strict", "blocking"])
@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.attack("audit", "its database is taken away while it runs: no call goes on")
async def test_who_promised_it_refuses(world: World, lose: Callable[[Path], None], mode: str) -> None:
    async with audited(world, mode=mode) as command:
        lose(database(world.folder))
        await until(lambda: NOTICED in command.log, "noticed, though nothing happens")
        reply = await command.chat()
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (503, "audit_unavailable")
        health = json.loads((await command.ask("GET", "/v1/health")).body)
        assert health["audit"]["complaint"]
        assert health["audit"]["loss"]
        assert command.log.count(NOTICED) == 1
        assert "Traceback" not in command.log


BACK = [lose for lose in LOSSES if lose not in (replaced_by_a_folder, replaced_by_a_fifo)]


@pytest.mark.parametrize("lose", BACK)
@pytest.mark.attack("audit", "its database is taken away while it runs: best effort goes on and tells of the gap")
async def test_best_effort_goes_on(world: World, lose: Callable[[Path], None], tried: Tried) -> None:
    async with audited(world) as command:
        lose(database(world.folder))
        await until(lambda: NOTICED in command.log, "noticed, though nothing happens")
        tried.times = 5
        for _ in range(5):
            assert (await command.chat()).status == 200
        await until(lambda: _stored(database(world.folder)) >= 5, "they are stored anew")
        assert command.log.count(NOTICED) == 1
        assert await command.end() == 0
    status, told = verified(world.folder)
    assert (status, "lost (the store was found without" in told) == (1, True)


def _stored(path: Path) -> int:
    try:
        return rows(path)
    except sqlite3.Error:
        return 0


@pytest.mark.attack("audit", "its database is moved away and back: nothing is lost, and calls go on")
async def test_what_comes_back_is_whole(world: World) -> None:
    async with audited(world, mode="strict") as command:
        path = database(world.folder)
        moved(path)
        await until(lambda: NOTICED in command.log, "noticed")
        assert (await command.chat()).status == 503
        path.with_name("elsewhere").rename(path)
        await command.ready()
        assert (await command.chat()).status == 200
        assert await command.end() == 0
    status, told = verified(world.folder, "--checkpoints", str(world.folder / "stdout"))
    assert status == 0, told


@pytest.mark.attack("audit", "its journal is deleted while it runs, then the gateway is killed: nothing is lost")
async def test_a_journal_that_was_deleted_costs_nothing(world: World) -> None:
    async with audited(world, mode="blocking") as command:
        path = database(world.folder)
        for name in ("audit.db-wal", "audit.db-shm"):
            path.with_name(name).unlink()
        for _ in range(5):
            assert (await command.chat()).status == 200
        await command.end(9)
    assert rows(database(world.folder)) >= 15
    assert verified(world.folder)[0] == 0


@pytest.mark.parametrize("mode", ["best_effort", "strict"])
@pytest.mark.attack("audit", "its database is deleted, the gateway is started anew: verify does not say ok")
async def test_a_new_start_does_not_forget(world: World, mode: str) -> None:
    async with audited(world, mode=mode) as command:
        deleted(database(world.folder))
        await until(lambda: NOTICED in command.log, "noticed")
        if mode == "best_effort":
            await until(lambda: '"lost"' in command.lines, "the new one says so")
        await command.end(9)
    (world.folder / "stdout").rename(world.folder / "first.log")
    async with audited(world, mode=mode) as command:
        assert await command.end() == 0
    status, told = verified(world.folder)
    assert status == 1
    assert "lost" in told
    status, told = verified(world.folder, "--checkpoints", str(world.folder / "first.log"))
    assert (status, ": cut off" in told or ": lost" in told) == (1, True)


@pytest.mark.attack("audit", "its database is deleted between two starts: the chain of the next one says so")
async def test_the_audit_reports_what_was_lost_between_two_starts(world: World) -> None:
    async with audited(world) as command:
        assert await command.end() == 0
    database(world.folder).unlink()
    async with audited(world, mode="strict") as command:
        assert NOTICED in command.log
        assert await command.end() == 0
    status, told = verified(world.folder)
    assert (status, "another audit was there" in told) == (1, True)


@pytest.mark.attack("audit", "a database that is gone, verified with the second place alone")
async def test_the_second_place_knows(world: World) -> None:
    async with audited(world) as command:
        assert await command.end() == 0
    database(world.folder).unlink()
    assert verified(world.folder)[0] == 2
    status, told = verified(world.folder, "--checkpoints", str(world.folder / "stdout"))
    assert (status, ": cut off" in told) == (1, True)


@pytest.mark.attack("audit", "open intents are deleted after a kill: verify finds each")
async def test_intents_that_were_deleted_are_found(world: World, tried: Tried) -> None:
    upstream = await world.upstream(hang)
    served = config([upstream.url], audit={"mode": "strict"}, balancing={"slots": 16})
    async with serving(world.folder, served) as command:
        lines = [await command.open() for _ in range(4)]
        for line in lines:
            await line.send("POST", CHAT, chat(stream=True))
        await until(lambda: len(upstream.visits) == 4, "all are with the endpoint")
        await command.end(9)
        for line in lines:
            line.vanish()
    assert verified(world.folder)[0] == 0
    with closing(sqlite3.connect(database(world.folder), isolation_level=None)) as connection:
        tried.times = connection.execute("DELETE FROM intents").rowcount
    status, told = verified(world.folder)
    assert (status, told.count(": unended")) == (1, 4)


CHANGES = {
    "sequence NULL": "UPDATE entries SET sequence = NULL WHERE sequence = 5",
    "sequence 'abc'": "UPDATE entries SET sequence = 'abc' WHERE sequence = 5",
    "a blob for a time": "UPDATE entries SET at_ns = x'00' WHERE sequence = 5",
    "text that is not UTF-8": "UPDATE entries SET actor = cast(x'ff' AS TEXT) WHERE sequence = 5",
    "a huge number": "UPDATE entries SET bytes_in = 1e300 WHERE sequence = 5",
    "an index without a row": "DROP INDEX ends_actor",
    "a number below 0": "UPDATE entries SET sequence = -5 WHERE sequence = 5",
    "sums that are too large": "UPDATE entries SET tokens_counted = 4611686018427387904",
    "an intent nested without end": "INSERT INTO intents VALUES ('x', 'w', printf('%.*c', 100000, '['))",
    "a table that is gone": "DROP TABLE checkpoints",
    "writers that are not UTF-8": "UPDATE entries SET writer = cast(x'6180c3a9' AS TEXT), at_ns = 5",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.attack("audit", "a row or table is changed: verify, export and the API say so, and the next start works")
async def test_verify_reports_changes_without_a_traceback(world: World, change: str) -> None:
    async with audited(world) as command:
        assert await command.end() == 0
    with closing(sqlite3.connect(database(world.folder), isolation_level=None)) as connection:
        connection.execute(CHANGES[change])
    status, told = verified(world.folder)
    assert status == 1, told
    done = command_line(world.folder, "export", "--store", str(database(world.folder)))
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    async with audited(world, allow_unauthenticated_reads=True) as command:
        assert (await command.ask("GET", "/v1/audit/logs?limit=1000")).status in (200, 503)
        assert "Traceback" not in command.log


@pytest.mark.attack("audit", "the file has random bits flipped: each start serves, verify never says ok or fails")
async def test_flipped_bits_stop_no_gateway(world: World, tried: Tried) -> None:
    async with audited(world) as command:
        assert await command.end() == 0
    path = database(world.folder)
    content, rng = path.read_bytes(), random.Random(4)
    tried.times = 5
    for _ in range(tried.times):
        broken = bytearray(content)
        for _ in range(300):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        status, told = verified(world.folder)
        assert (status, "ok:" in told) == (1, False)
        async with serving(world.folder, config(["http://127.0.0.1:9"])) as command:
            assert (await command.ask("GET", "/v1/models")).status == 200
            await asyncio.sleep(0.2)
            assert "Traceback" not in command.log


@pytest.mark.parametrize("how", ["renamed", "copied and cut", "deleted"])
@pytest.mark.attack("audit", "a file of JSON lines is rotated, or deleted")
async def test_rotation_is_no_loss(world: World, how: str) -> None:
    path = world.folder / "audit.jsonl"
    async with audited(world, store="jsonl", mode="blocking", path=str(path)) as command:
        if how == "renamed":
            path.rename(world.folder / "audit.jsonl.1")
        elif how == "deleted":
            path.unlink()
        else:
            shutil.copyfile(path, world.folder / "audit.jsonl.1")
            os.truncate(path, 0)
        if how == "deleted":
            await until(lambda: NOTICED in command.log, "noticed")
            assert (await command.chat()).status == 503
            return
        assert (await command.chat()).status == 200
        assert await command.end() == 0
    lines = [*(world.folder / "audit.jsonl.1").read_bytes().splitlines(), *path.read_bytes().splitlines()]
    numbers = [json.loads(line)["entry"]["sequence"] for line in lines if b'"entry"' in line]
    assert numbers == list(range(1, len(numbers) + 1))
