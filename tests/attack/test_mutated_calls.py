"""Calls of real clients with a few bytes changed: served or refused, with no internal error and no loss."""

import asyncio
import json
import random
import re

import pytest
from tests.attack.command import Command, serving
from tests.attack.table import Tried
from tests.attack.test_clients_heads import BODY, CLIENTS
from tests.flow.line import Line
from tests.flow.world import CHAT, World, config

from ai_gateway.telemetry.names import REFUSED_CONNECTIONS

TIMES = 3000
AT_ONCE = 30
END = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKED = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED += f"{len(BODY):x}\r\n{BODY.decode()}\r\n0\r\n\r\n"
EXTRA = [
    *("Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n", "Expect: 100-continue\r\n", "Content-Encoding: gzip\r\n"),
    *("Connection: close\r\n", "Content-Type: ", "Host: evil.example\r\n", "Content-Length: 5\r\n", "TE: x\r\n"),
    *("\r\n", "\r\n\r\n", "\x00", "\t", ":", ",", ";", '"', "\xff", "0", "9", "f", "*", "[::1]", "charset=", "+json"),
]


def mutated(dice: random.Random) -> bytes:
    head = f"POST {CHAT} HTTP/1.1\r\n"
    if dice.random() < 0.3:
        data = head + "Host: localhost\r\n" + dice.choice(["", "Expect: 100-continue\r\n"]) + CHUNKED
    else:
        data = head + dice.choice(list(CLIENTS.values())) + "\r\n" + BODY.decode()
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data))
        data = data[:at] + dice.choice(["", *EXTRA]) + data[at + dice.choice((0, 0, 1, 2, dice.randrange(30))) :]
    return data.encode("latin-1") + END


async def statuses(command: Command, data: bytes) -> list[int]:
    """Of all answers to these bytes; who asks waits for half a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", command.port)
    answer = b""
    try:
        writer.write(data)
        async with asyncio.timeout(0.5):
            while piece := await reader.read(65536):
                answer += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


async def early(command: Command) -> int:
    """How many were refused before they were requests, by the metrics: the log tells only of some."""
    line = await Line.open(command.admin_port)
    await line.send("GET", "/metrics")
    page = (await line.reply()).body.decode()
    line.leave()
    return sum(int(float(count)) for count in re.findall(rf"^{REFUSED_CONNECTIONS}{{.*?}} (\S+)$", page, re.MULTILINE))


@pytest.mark.attack("http", "calls with a few bytes changed: no internal error, and every opened call is recorded once")
async def test_no_mutation_causes_an_internal_error(world: World, tried: Tried) -> None:
    dice = random.Random(13)
    simulator = await world.simulator()
    found: dict[int, int] = {}
    async with serving(world.folder, config(simulator.urls)) as command:
        await command.ready()
        for _ in range(TIMES // AT_ONCE):
            answers = await asyncio.gather(*(statuses(command, mutated(dice)) for _ in range(AT_ONCE)))
            for status in (status for answer in answers for status in answer):
                found[status] = found.get(status, 0) + 1
        assert (await command.chat()).status == 200
        assert "Traceback" not in command.log
        refused_early = await early(command)
        assert await command.end() == 0
        lines = [json.loads(line) for line in command.lines.splitlines()]
        answered = sum(line["status"] != 499 for line in lines if "method" in line)
        answered += sum(line.get("held_back", 0) for line in lines)
        finals = sum(count for status, count in found.items() if status != 100)
        assert answered + refused_early >= finals + 1
    assert found.keys() <= {100, 200, 400, 403, 404, 405, 408, 413, 414, 415, 417, 431, 505}, found
    tried.times = TIMES
    tried.figure(", ".join(f"{count} x {status}" for status, count in sorted(found.items())))
