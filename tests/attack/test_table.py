"""The smallest situations: they show that the harness sees what it says it sees."""

import asyncio
import time
from pathlib import Path

import pytest
from tests.attack.command import memory_limit, serving
from tests.attack.holding import callbacks_timed
from tests.attack.table import Tried
from tests.flow.world import World, config


@pytest.mark.attack("bodies", "an ordinary call under the chart's own memory limit")
async def test_a_call_is_served_within_the_limit_of_the_chart(world: World, tried: Tried) -> None:
    simulator = await world.simulator()
    with memory_limit(256 << 20) as group:
        async with serving(world.folder, config(simulator.urls), cgroup=group) as command:
            await command.ready()
            assert (await command.chat()).status == 200
            tried.figure(f"{command.peak_bytes >> 20} MiB at most")


@pytest.mark.attack("bodies", "a process that takes more than its cgroup has is killed (the measure itself)")
async def test_the_limit_is_one(tmp_path: Path) -> None:
    with memory_limit(64 << 20) as group:
        script = f'echo $$ > {group} && exec python3 -c "x = bytearray(200 << 20)"'
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", script)
        assert await process.wait() == -9


@pytest.mark.attack("bodies", "a callback that holds the loop is seen (the measure itself)")
def test_holding_is_seen(tried: Tried) -> None:
    async def hold() -> None:
        await asyncio.sleep(0)
        began = time.thread_time()
        while time.thread_time() - began < 0.02:
            pass
        await asyncio.sleep(0)

    with callbacks_timed() as held, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(hold())
    assert 0.02 <= held.longest_seconds <= held.total_seconds
    tried.figure(str(held))
