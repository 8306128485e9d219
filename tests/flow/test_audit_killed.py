"""A gateway that is killed: what its audit knows then, and how the next one finishes it."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from tests.flow.line import Line
from tests.flow.test_audit import entries, named, path_of
from tests.flow.upstream import SSE_HEAD, Visit, event, framed
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, World, chat, config


class Command:
    """`ai-gateway serve` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def begin(self, body: bytes, request_id: str) -> Line:
        """A connection on which a call was sent."""
        line = await Line.open(self.port)
        await line.send("POST", CHAT, body, named(request_id))
        return line

    async def end(self, number: int) -> int:
        """Ends it by a signal; returns its exit status."""
        self.process.send_signal(number)
        return await soon(self.process.wait())


@asynccontextmanager
async def serving(folder: Path, url: str, **audit: object) -> AsyncIterator[Command]:
    """A gateway over one endpoint, whose state is in this folder."""
    path = folder / "killed.yml"
    path.write_text(yaml.safe_dump(config([url], audit=audit, balancing={"slots": 16})))
    words = ["serve", "--config", str(path), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ai_gateway", *words, "--drain-grace", "0"),
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        while b"listening on" not in (line := await soon(process.stderr.readline())):
            assert line, "the command ended"
        found = re.search(r"https?://[^ ]+:(\d+)", json.loads(line)["message"])
        assert found is not None
        yield Command(process, int(found[1]))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def hang(visit: Visit) -> None:
    """Begins an answer that has no end."""
    await visit.say(SSE_HEAD, framed(event("one")))
    await visit.gone()


async def test_strict_has_one_intent_for_each_call_that_was_sent_and_the_next_start_closes_it_once(
    world: World,
) -> None:
    upstream = await world.upstream(hang)
    names = [f"c{number}" for number in range(8)]
    async with serving(world.folder, upstream.url, mode="strict") as command:
        lines = [await command.begin(chat(stream=True), name) for name in names]
        await until(lambda: len(upstream.visits) == len(names), "all calls are with the endpoint")
        await command.end(signal.SIGKILL)
        for line in lines:
            line.vanish()
    assert sorted(entry.request_id for entry in entries(world, "intent")) == names
    assert entries(world) == []
    for _ in range(2):
        async with serving(world.folder, upstream.url, mode="best_effort") as command:
            await until(lambda: len(entries(world)) == len(names), "all are closed")
            assert await command.end(signal.SIGTERM) == 0
    ends = entries(world)
    assert sorted(end.request_id for end in ends) == names
    assert {end.outcome for end in ends} == {"gateway_lost"}
    assert {end.model_asked for end in ends} == {"llama3"}


async def test_sigterm_leaves_an_end_for_every_call(world: World) -> None:
    upstream = await world.upstream(hang)
    async with serving(world.folder, upstream.url) as command:
        lines = [await command.begin(chat(stream=True), f"c{number}") for number in range(8)]
        await until(lambda: len(upstream.visits) == len(lines), "all calls are with the endpoint")
        assert await command.end(signal.SIGTERM) == 0
        for line in lines:
            line.vanish()
    assert [end.outcome for end in entries(world)] == ["shed"] * len(lines)


async def test_blocking_has_the_entry_of_every_answer_that_a_client_has_whole(world: World) -> None:
    """Killed the moment the last byte is there."""
    simulator = await world.simulator()
    async with serving(world.folder, simulator.urls[0], mode="blocking") as command:
        for number in range(5):
            line = await command.begin(chat(), f"c{number}")
            assert (await soon(line.reply())).status == 200
            line.leave()
        await command.end(signal.SIGKILL)
    assert [end.request_id for end in entries(world)] == [f"c{number}" for number in range(5)]
    assert path_of(world).exists()
