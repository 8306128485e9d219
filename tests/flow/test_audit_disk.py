"""A disk that takes no more: the kernel refuses every write of the gateway beyond a size, and later does not."""

import asyncio
import resource

from tests.flow.test_audit import entries
from tests.flow.test_audit_killed import Command, serving
from tests.flow.waiting import until
from tests.flow.world import World, chat

NO_LIMIT = resource.RLIM_INFINITY


def _limit(command: Command, size: int) -> None:
    """What no file of the gateway may grow beyond (RLIMIT_FSIZE); a write beyond it fails as on a full disk."""
    resource.prlimit(command.process.pid, resource.RLIMIT_FSIZE, (size, NO_LIMIT))


async def _status(command: Command, request_id: str) -> int:
    line = await command.begin(chat(), request_id)
    try:
        return (await line.reply()).status
    finally:
        line.leave()


async def _becomes(command: Command, status: int) -> list[str]:
    """Calls until they are answered so; the names of all."""
    names: list[str] = []
    while not names or await _status(command, names[-1]) != status:
        names.append(f"try-{status}-{len(names)}")
        await asyncio.sleep(0.05)
    return names


async def test_best_effort_answers_on_and_writes_what_waited_when_there_is_room(world: World) -> None:
    simulator = await world.simulator()
    async with serving(world.folder, simulator.urls[0]) as command:
        assert await _status(command, "before") == 200
        await until(lambda: len(entries(world)) == 1, "the first entry")
        _limit(command, 1)
        for number in range(50):
            assert await _status(command, f"full-{number}") == 200
        assert len(entries(world)) == 1
        _limit(command, NO_LIMIT)
        await until(lambda: len(entries(world)) == 51, "all that waited")
    assert {entry.request_id for entry in entries(world)} == {"before", *(f"full-{number}" for number in range(50))}


async def test_strict_sends_nothing_until_there_is_room(world: World) -> None:
    simulator = await world.simulator()
    async with serving(world.folder, simulator.urls[0], mode="strict") as command:
        assert await _status(command, "before") == 200
        _limit(command, 1)
        await _becomes(command, 503)
        _limit(command, NO_LIMIT)
        await _becomes(command, 200)
        assert await _status(command, "after") == 200
    found = [entry.request_id for entry in entries(world)]
    assert len(set(found)) == len(found)
    assert {"before", "after"} <= set(found)
