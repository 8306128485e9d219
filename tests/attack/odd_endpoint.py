"""An endpoint that says of itself what a test wants, however much it is, and a gateway over it."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attack.command import Command, serving
from tests.flow.line import Line
from tests.flow.upstream import Act, Upstream, Visit, answer_well, whole
from tests.flow.waiting import soon
from tests.flow.world import config

MEBI = 1 << 20
POLLING = {"interval": "100ms", "models_interval": "100ms"}
BLOCK = b" " * (1 << 20)
OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class OddEndpoint(Upstream):
    """An Upstream whose answers to paths of state may be acts."""

    acts: dict[str, Act] = field(default_factory=dict)

    async def _answer(self, visit: Visit) -> None:
        act = self.acts.get(visit.path)
        if act is None:
            await super()._answer(visit)
            return
        self.looks.append(visit)
        with suppress(ConnectionError):
            await act(visit)


def floods(begin: bytes, block: bytes, times: int) -> Act:
    """Says one thing and then a block so many times, and hangs up."""

    async def act(visit: Visit) -> None:
        await visit.say(begin)
        for _ in range(times):
            await visit.say(block)
        visit.hang_up()

    return act


def squeezed_blanks(mebibytes: int, begin: bytes = b"") -> bytes:
    """So many MiB of blanks in gzip, made a block at a time."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    pieces = [squeeze.compress(begin), *(squeeze.compress(BLOCK) for _ in range(mebibytes)), squeeze.flush()]
    return b"".join(pieces)


def gzip_answer(content: bytes) -> bytes:
    """A whole answer of these compressed bytes."""
    return whole(content, headers=("content-type: application/json", "content-encoding: gzip"))


def tags(names: Iterable[str]) -> bytes:
    """An answer to /api/tags."""
    listed = [{"name": name, "model": name, "digest": f"sha256:{name}", "size": 7} for name in names]
    return whole(json.dumps({"models": listed}).encode())


async def health(command: Command) -> dict[str, object]:
    """What /v1/health says of its first endpoint."""
    reply = await soon(command.ask("GET", "/v1/health"), 20)
    assert reply.status in (200, 503), reply.body
    found: dict[str, object] = reply.json["endpoints"][0]
    return found


async def scrape(command: Command) -> bytes:
    """/metrics."""
    line = await Line.open(command.admin_port)
    await line.send("GET", "/metrics")
    body = (await soon(line.reply(), 20)).body
    line.leave()
    return body


@asynccontextmanager
async def attacked(
    folder: Path, acts: dict[str, Act], act: Act = answer_well, **more: Any
) -> AsyncIterator[tuple[Command, OddEndpoint]]:
    """A gateway in a process of its own over an odd endpoint and a good one, which does not have the odd one's model
    where that has acts for calls: those are served all the while, or the odd one gets them all."""
    models = ("llama3:latest",) if act is answer_well else ("other:latest",)
    odd, good = OddEndpoint(act, acts=acts), OddEndpoint(answer_well, models=models)
    await odd.start()
    await good.start()
    try:
        content = config([odd.url, good.url], **{"polling": POLLING, **more})
        async with serving(folder, content) as command:
            await command.ready()
            yield command, odd
            assert command.is_alive
    finally:
        await odd.stop()
        await good.stop()


def asked(odd: OddEndpoint, path: str) -> int:
    """How often."""
    return sum(look.path == path for look in odd.looks)


async def until_reason(command: Command, words: str) -> None:
    """Returns once health says that of the odd endpoint."""
    for _ in range(400):
        found = await health(command)
        if words in str(found["complaint"]):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{words!r} is not in {found}")


def says(said: bytes) -> Act:
    """The same answer each time."""

    async def act(visit: Visit) -> None:
        await visit.say(said)

    return act
