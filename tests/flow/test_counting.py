"""What a call took, through the whole gateway: Ollama's word where it can be true, else the gateway's own count."""

import asyncio
import json
import logging
from typing import Any

import pytest
from tests.flow.scraping import of, scraped
from tests.flow.upstream import DONE, END, SSE_HEAD, Act, Visit, answer, event, framed, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, World, chat

from ai_gateway.accounting.audit_status import audit_status
from ai_gateway.telemetry.access_log import describe
from ai_gateway.wire.usage import Usage

HUGE = 2**53 - 1
LEFT = 'limit_remaining{caller="anonymous",limit="tokens_per_day"}'
LIMITS = {"default": {"tokens_per_day": 100_000}}


def saying(completion: int, text: str = "two words") -> Act:
    """An endpoint that says so much of every answer."""
    usage = {"prompt_tokens": 3, "completion_tokens": completion, "total_tokens": 3 + completion}

    async def act(visit: Visit) -> None:
        if visit.fields.get("stream"):
            last = event("", choices=[], usage=usage)
            await visit.say(SSE_HEAD, framed(event(text)), framed(event("", "stop")), framed(last), framed(DONE), END)
        else:
            await visit.say(whole(answer(text, usage=usage)))

    return act


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_impossible_usage_is_counted_and_logged_once(
    world: World, is_stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees it; no record has it as true."""
    upstream = await world.upstream(saying(HUGE))
    served = await world.gateway([upstream.url], limits=LIMITS)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reply = await served.chat(stream=is_stream, stream_options={"include_usage": True} if is_stream else None)
            assert str(HUGE).encode() in reply.body
    exchange = await served.recorded(3)
    assert exchange.tokens.usage is None
    assert 0 < (exchange.tokens.counted or 0) < 100
    line = describe(exchange)
    assert (line.tokens_in, line.tokens_out, line.tokens_counted) == (None, None, exchange.tokens.counted)
    samples = await scraped(served)
    assert of(samples, "usage_disbelieved_total") == {f'model="llama3",upstream="{upstream.address}"': 3}
    assert 100_000 - samples[LEFT] < 300
    assert len([line for line in caplog.messages if "is not possible" in line]) == 1


async def test_more_than_max_tokens_is_not_believed(world: World) -> None:
    """Neither the client's own nor the model's, as it was sent."""
    upstream = await world.upstream(saying(8), models=("llama3:latest", "codellama:13b"))
    served = await world.gateway([upstream.url])
    for body, usage in (
        (chat(max_tokens=8), Usage(3, 8)),
        (chat(max_tokens=7), None),
        (chat(max_completion_tokens=7), None),
        (chat(model="coder"), None),
        (chat(), Usage(3, 8)),
    ):
        assert (await served.ask("POST", CHAT, body)).status == 200
        await until(lambda: served.exchanges)
        assert served.exchanges.pop().tokens.usage == usage


async def test_ten_contexts_are_all_that_an_answer_can_have(world: World) -> None:
    """Where /api/ps tells the context of the model that is loaded; a long text would be believed else."""
    text = "word " * 1000
    upstream = await world.upstream(saying(1000, text))
    loaded = {"name": "llama3:latest", "model": "llama3:latest", "context_length": 99}
    upstream.state["/api/ps"] = whole(json.dumps({"models": [loaded]}).encode())
    served = await world.gateway([upstream.url])
    await until(lambda: served.endpoint(upstream.address).context_of("llama3:latest") == 99)
    await served.chat()
    assert (await served.recorded()).tokens.usage is None
    loaded["context_length"] = 100
    upstream.state["/api/ps"] = whole(json.dumps({"models": [loaded]}).encode())
    await until(lambda: served.endpoint(upstream.address).context_of("llama3:latest") == 100)
    await served.chat()
    assert (await served.recorded(2)).tokens.usage == Usage(3, 1000)


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([event("word")] * 50, 50),
        ([event("word", logprobs={"content": [{"token": "x"}] * 100})] * 50, 50),
        ([event("")] * 50, 0),
        ([], 0),
    ],
)
async def test_a_cut_stream_costs_the_events_that_say_something(world: World, events: list[bytes], tokens: int) -> None:
    """And its prompt."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("first")), *map(framed, events))
        await go_on.wait()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], limits=LIMITS)
    line = await served.begin(chat(stream=True, max_tokens=500))
    await line.head()
    for _ in range(1 + len(events)):
        await line.event()
    line.vanish()
    counted = (await served.recorded()).tokens.counted or 0
    go_on.set()
    prompt = len(chat(stream=True, max_tokens=500)) // 4 + 1
    assert counted == prompt + 1 + tokens
    assert 100_000 - (await scraped(served))[LEFT] == counted


async def test_the_audit_has_what_limits_were_charged(world: World) -> None:
    upstream = await world.upstream(saying(HUGE))
    served = await world.gateway([upstream.url], audit={"allow_unauthenticated_reads": True})
    await served.chat()
    await served.chat(model="nobody")
    await until(lambda: audit_status(served.gateway.audit)["queued"] == 0)
    entries: list[dict[str, Any]] = (await served.get("/v1/audit/logs"))["data"]
    counted = {entry["model_asked"]: entry["tokens_counted"] for entry in entries if entry["model_asked"]}
    assert counted == {"llama3": (await served.recorded()).tokens.counted, "nobody": None}
    assert {entry["tokens_out"] for entry in entries} == {None}
