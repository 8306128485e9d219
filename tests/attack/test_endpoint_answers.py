"""How an endpoint answers: heads and errors without end, and answers that nobody asked for."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.attack.odd_endpoint import (
    MEBI,
    OK,
    asked,
    attacked,
    floods,
    gzip_answer,
    health,
    says,
    squeezed_blanks,
)
from tests.attack.table import Tried
from tests.flow.upstream import DONE, END, SSE_HEAD, Act, Visit, answer, event, framed, whole
from tests.flow.waiting import until

MOST_BYTES = 110 * MEBI  # a gateway at rest has 45 to 60, and three polls of each endpoint run at a time
POLLS = 5
SELDOM = {"interval": "60s", "models_interval": "60s"}  # a poll would take the connection first

HEADS: dict[str, tuple[bytes, bytes]] = {
    "a reason": (b"HTTP/1.1 200 ", b"O"),
    "a value": (OK + b"x: ", b"y"),
    "a name": (OK, b"x"),
    "fields": (OK, b"x: y\r\n"),
    "folded lines": (OK + b"x: y", b"\r\n "),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk extension": (OK + b"transfer-encoding: chunked\r\n\r\n5;", b"x"),
    "trailers": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"x: y\r\n"),
}


@pytest.mark.attack("endpoints", "heads, chunk sizes and trailers without end, to polls and to a call")
@pytest.mark.parametrize("what", HEADS)
async def test_a_head_without_end_costs_no_time(tmp_path: Path, tried: Tried, what: str) -> None:
    begin, again = HEADS[what]
    flood = floods(begin, again * (MEBI // len(again)), 100)
    async with attacked(tmp_path, {"/api/tags": flood}, flood, queue={"max_waiting": 4}) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, "/api/tags") >= POLLS)
        for _ in range(5):
            assert (await command.chat()).status in (502, 503)
        tried.times = asked(odd, "/api/tags") + len(odd.visits)
        spent = (command.loop_cpu_seconds - cpu) / tried.times
        tried.figure(f"{spent * 1000:.0f} ms of CPU each, all else included")
        assert spent < 0.2
        assert (await health(command))["address"] == odd.url


@pytest.mark.attack("endpoints", "errors of calls that are large, endless, compressed or odd")
@pytest.mark.parametrize("what", ["large", "endless", "gzip", "not UTF-8", "drips"])
async def test_an_error_of_a_call_is_short_and_takes_no_memory(tmp_path: Path, tried: Tried, what: str) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
    said: dict[str, Act] = {
        "large": says(whole(json.dumps({"error": "x" * 50_000}).encode(), "400 Bad Request")),
        "endless": floods(head + b'\r\n{"error":"', b"x" * MEBI, 500),
        "gzip": says(gzip_answer(squeezed_blanks(600)).replace(b"200 OK", b"400 No", 1)),
        "not UTF-8": says(whole(b'{"error":"\xff\xfe"}', "400 Bad Request")),
        "drips": floods(head + b"\r\n", b"x", 200),
    }
    async with attacked(tmp_path, {}, said[what], queue={"max_waiting": 4}) as (command, odd):
        for _ in range(6):
            reply = await command.chat()
            assert reply.status in (400, 502, 503)
            assert len(reply.body) < 4096
            assert reply.error["type"] in ("invalid_request", "backend_unavailable")
        assert odd.visits
        assert command.peak_bytes < MOST_BYTES
        tried.times = len(odd.visits)
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")


@pytest.mark.attack(
    "endpoints", "a later answer that came before its request, in one breath with the first or after it"
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_no_client_gets_an_answer_that_came_before_the_request(
    tmp_path: Path, tried: Tried, is_late: bool
) -> None:
    """Others wait for the one slot: each connection is wanted again in the moment in which it is free."""
    evil = whole(answer("EVIL"))

    async def act(visit: Visit) -> None:
        good = whole(answer("good"))
        await visit.say(*([good, evil] if is_late else [good + evil]))

    more: dict[str, Any] = {"balancing": {"slots": 1}, "queue": {"max_waiting": 200}, "polling": SELDOM}
    async with attacked(tmp_path, {}, act, **more) as (command, odd):
        replies = [await command.chat() for _ in range(20)]
        replies += await asyncio.gather(*(command.chat() for _ in range(200)))
        assert {reply.status for reply in replies} == {200}
        assert not any(b"EVIL" in reply.body for reply in replies)
        tried.times = len(odd.visits)
        assert command.log.count("sent data without a request") == 1


@pytest.mark.attack("endpoints", "a stream's end with an answer behind it")
async def test_a_stream_leaves_no_answer_behind(tmp_path: Path, tried: Tried) -> None:
    async def act(visit: Visit) -> None:
        stream = SSE_HEAD + framed(event("good")) + framed(event("", "stop")) + framed(DONE) + END
        await visit.say(stream + whole(answer("EVIL")))

    async with attacked(tmp_path, {}, act) as (command, odd):
        for _ in range(20):
            assert b"EVIL" not in (await command.chat(stream=True)).body
        tried.times = len(odd.visits)
