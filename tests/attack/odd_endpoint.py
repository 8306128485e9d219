"""An endpoint that says of itself what a test wants, however much it is."""

import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.attack.command import Command
from tests.flow.upstream import Act, Upstream, Visit, whole
from tests.flow.waiting import soon

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
    from tests.flow.line import Line

    line = await Line.open(command.admin_port)
    await line.send("GET", "/metrics")
    body = (await soon(line.reply(), 20)).body
    line.leave()
    return body
