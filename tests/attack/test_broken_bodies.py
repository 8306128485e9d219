"""Bodies that turn out to be no HTTP, after the request was opened: client and all records have the same error."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from tests.attack.command import Command, serving
from tests.flow.line import Line, Reply
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, World, config

from ai_gateway.server import FramingLimits

HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
EXPECTS = HEAD + "Expect: 100-continue\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
LEAST = "1\r\n{\r\n"
REFUSED = {
    "a bad chunk behind Expect": EXPECTS + CHUNKED + "XX\r\n",
    "a good and a bad chunk behind Expect": EXPECTS + CHUNKED + LEAST + "XX\r\n",
    "a bad chunk": HEAD + CHUNKED + "XX\r\n",
    "a bad chunk after a good one": HEAD + CHUNKED + LEAST + "-1\r\n",
    "a chunk that is longer than its size": HEAD + CHUNKED + "1\r\n{}\r\n",
    "a size line without end": HEAD + CHUNKED + LEAST + "1" * 200,
    "more framing than content": HEAD + CHUNKED + LEAST * 10_000,
    "a trailer too long": HEAD + CHUNKED + LEAST + "0\r\nX: " + "y" * 20_000,
    "a trailer that changes the length": HEAD + CHUNKED + LEAST + "0\r\nContent-Length: 1\r\n\r\n",
    "a trailer that is none": HEAD + CHUNKED + LEAST + "0\r\n\x00\r\n\r\n",
}
LEFT = {
    "the end in a chunk": HEAD + CHUNKED + "ff\r\n{",
    "the end in a size": HEAD + CHUNKED + LEAST + "f",
    "the end in a trailer": HEAD + CHUNKED + LEAST + "0\r\nX: y",
    "the end in a body with a length": HEAD + "Content-Length: 100\r\n\r\n{",
    "the end behind Expect": EXPECTS + "Content-Length: 100\r\n\r\n",
    "the end behind Expect, in a chunk": EXPECTS + CHUNKED + "ff\r\n",
}


@pytest.fixture
async def command(world: World) -> AsyncIterator[Command]:
    simulator = await world.simulator()
    async with serving(world.folder, config(simulator.urls, audit={"allow_unauthenticated_reads": True})) as command:
        await command.ready()
        yield command


async def told_everywhere(command: Command, status: int, outcome: str, request_id: str | None = None) -> None:
    """The access log, the metrics and the audit have one call, with this status and outcome; the log has no trace."""
    await until(lambda: command.lines.count(CHAT) == 1, command.log)
    (line,) = [json.loads(line) for line in command.lines.splitlines() if CHAT in line]
    assert (line["status"], line["outcome"]) == (status, outcome)
    assert request_id in (None, line["request_id"])
    assert "Traceback" not in command.log
    admin = await Line.open(command.admin_port)
    await admin.send("GET", "/metrics")
    metrics = (await admin.reply()).body.decode()
    admin.leave()
    (counted,) = [line for line in metrics.splitlines() if "ai_gateway_requests_total{" in line and CHAT in line]
    assert f'status="{status}"' in counted
    for _ in range(1000):
        entries = (await command.ask("GET", "/v1/audit/logs")).json["data"]
        if found := [(entry["status"], entry["outcome"]) for entry in entries if entry["route"] == CHAT]:
            break
        await asyncio.sleep(0.01)
    assert found == [(status, outcome)]


async def answer(line: Line) -> Reply:
    """The final answer."""
    head = await line.head()
    if head.status == 100:
        return await line.reply()
    return Reply(head.status, head.headers, await line.rest())


@pytest.mark.attack("http", "a body that turns out to be no HTTP is a 400 everywhere")
@pytest.mark.parametrize("name", REFUSED)
async def test_a_broken_body_is_a_400_everywhere(command: Command, name: str) -> None:
    line = await command.open()
    await line.write(REFUSED[name].encode("latin-1"))
    reply = await answer(line)
    assert (reply.status, reply.error["code"]) == (400, "malformed_request")
    assert reply.header("connection") == "close"
    assert await line.is_closed()
    line.leave()
    await told_everywhere(command, 400, "refused", reply.header("x-request-id"))


@pytest.mark.attack("http", "a client that leaves inside its body")
@pytest.mark.parametrize("is_rude", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("name", LEFT)
async def test_a_client_that_leaves_in_its_body_has_left(command: Command, name: str, is_rude: bool) -> None:
    line = await command.open()
    await line.write(LEFT[name].encode())
    if "Expect" in name and "chunk" not in name:
        assert (await line.head()).status == 100
    if is_rude:
        line.vanish()
    else:
        line.leave()
    await told_everywhere(command, 499, "client_left")


@pytest.mark.attack("http", "who is refused is not asked for a body (Expect: 100-continue)")
async def test_a_refused_client_is_not_asked_for_its_body(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls)
    cases = {
        HEAD + "Origin: https://evil.example\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n": 403,
        EXPECTS.replace("localhost", "evil.example") + "Content-Length: 9\r\n\r\n": 403,
        EXPECTS.replace("application/json", "text/html") + "Content-Length: 9\r\n\r\n": 415,
        EXPECTS + "Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n": 415,
        EXPECTS + f"Content-Length: {10**9}\r\n\r\n": 413,
        HEAD + "Expect: 200-ok\r\nContent-Length: 9\r\n\r\n": 417,
        HEAD + "Expect: 100-continue, x\r\nContent-Length: 9\r\n\r\n": 417,
        EXPECTS.replace(CHAT, "/v1/nowhere") + "Content-Length: 9\r\n\r\n": 404,
        EXPECTS.replace("POST", "PUT") + "Content-Length: 9\r\n\r\n": 405,
    }
    for data, status in cases.items():
        line = await served.open()
        await line.write(data.encode())
        assert (await soon(line.reply())).status == status, data
        line.leave()


@pytest.mark.attack("http", "a body that stops coming is a 408 everywhere")
async def test_a_body_that_stops_is_a_408(world: World) -> None:
    limits = FramingLimits(body_silence_seconds=0.05, sweep_seconds=0.02)
    served = await world.gateway_with("models: {llama3: {}}", is_ready=False, limits=limits)
    for head in (HEAD, EXPECTS):
        line = await served.open()
        await line.write(f"{head}Content-Length: 100\r\n\r\n".encode())
        reply = await answer(line)
        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        assert await line.is_closed()
        await until(lambda: served.exchanges[-1].outcome.error_code == "request_timeout", "it is recorded")
        assert (served.last.outcome.status, served.last.outcome.kind) == (408, "refused")
