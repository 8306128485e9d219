"""Numbers that an endpoint or a caller makes up: what they may move, and whose."""

import asyncio
import json
import logging
from typing import Any

import pytest
from tests.attack.command import serving
from tests.attack.table import Tried
from tests.flow.scraping import of, scraped
from tests.flow.upstream import DONE, END, SSE_HEAD, Visit, answer, event, framed, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat, config

from ai_gateway.accounting.audit_status import audit_status

HUGE = 2**53 - 1
LIMITS = {"default": {"tpm": 1_000_000, "tokens_per_day": 20_000}}
PROXIED = {"trusted_proxies": ["127.0.0.1"]}
LEFT = 'limit_remaining{caller="anonymous",limit="tokens_per_day"}'


class Liar:
    """An endpoint whose usage is what `usage` says, verbatim JSON; None: it has none. Its answers are two words."""

    def __init__(self) -> None:
        self.usage: str | None = None

    async def __call__(self, visit: Visit) -> None:
        """Whole, or in two events."""
        told = "" if self.usage is None else f',"usage":{self.usage}'
        if visit.path.endswith("embeddings"):
            body = '{"object":"list","data":[{"object":"embedding","embedding":[0.5],"index":0}],"model":"x"'
            await visit.say(whole(f"{body}{told}}}".encode()))
        elif visit.fields.get("stream"):
            last = b'data: {"id":"chatcmpl-417","object":"chat.completion.chunk","created":1,"model":"x","choices":[]'
            tail = [framed(last + told.encode() + b"}\n\n")] if told else []
            await visit.say(SSE_HEAD, framed(event("two")), framed(event("words")), framed(event("", "stop")), *tail)
            await visit.say(framed(DONE), END)
        else:
            plain = json.loads(answer("two words"))
            del plain["usage"]
            await visit.say(whole((json.dumps(plain)[:-1] + told + "}").encode()))


async def lied_to(world: World, **more: Any) -> tuple[Liar, Served]:
    liar = Liar()
    upstream = await world.upstream(liar, models=("llama3:latest", "nomic-embed-text:latest"))
    return liar, await world.gateway([upstream.url], **{"limits": LIMITS, **PROXIED, **more})


async def asked(served: Served, kind: str, address: str = "192.0.2.1", **more: Any) -> int:
    """The status of one call of a kind."""
    path, body = CHAT, chat(**more)
    if kind == "stream":
        body = chat(stream=True, **more)
    elif kind == "embeddings":
        path, body = "/v1/embeddings", json.dumps({"model": "embed", "input": ["a", "b"]}).encode()
    return (await served.ask("POST", path, body, {"x-forwarded-for": address})).status


def usage(prompt: Any, completion: Any) -> str:
    return json.dumps({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 1})


LIES = {
    "completion 2^53-1": usage(3, HUGE),
    "prompt 2^53-1": usage(HUGE, 3),
    "both 2^53-1": usage(HUGE, HUGE),
    "2^63": usage(2**63, 2**63),
    "400 digits": usage(10**400, 1),
    "1e308": '{"prompt_tokens":1e308,"completion_tokens":1e308}',
    "100,000 in no time": usage(3, 100_000),
    "a prompt of 50,000 in 100 bytes": usage(50_000, 3),
    "negative": usage(-5, -HUGE),
    "half": usage(1.5, 2.5),
    "texts": usage("3", "1"),
    "true": usage(True, True),
    "null": usage(None, None),
    "lists": usage([], {}),
    "empty": "{}",
    "total alone": '{"total_tokens":9007199254740991}',
    "no prompt": '{"completion_tokens":9007199254740991}',
    "a list": "[9007199254740991]",
    "a text": '"many"',
    "missing": None,
}


@pytest.mark.attack("numbers", "usage that cannot be true, or is none")
@pytest.mark.parametrize("lie", LIES)
async def test_usage_that_cannot_be_true_moves_nothing(world: World, tried: Tried, lie: str) -> None:
    """Neither the caller's budget nor the estimates for others; no record has it as true."""
    liar, served = await lied_to(world)
    liar.usage = LIES[lie]
    tried.times = 9
    for _ in range(3):
        for kind in ("whole", "stream", "embeddings"):
            assert await asked(served, kind) == 200
    samples = await scraped(served)
    spent = 20_000 - samples[LEFT]
    assert 9 * 2 < spent < 9 * 120, "the gateway's own count: a prompt of some 30 tokens, and two words"
    assert await asked(served, kind, "192.0.2.2") == 200
    after = (await scraped(served))[LEFT]
    assert after > 19_000, "the estimate for somebody else is what it was"
    for exchange in served.exchanges:
        if exchange.call is not None:
            assert exchange.tokens.usage is None
            assert 0 < (exchange.tokens.counted or 0) < 120
    assert not of(samples, "caller_tokens_total") or set(of(samples, "caller_tokens_total").values()) == {0}
    if lie not in ("missing", "a list", "a text"):
        assert sum(of(samples, "usage_disbelieved_total").values()) == 9
    tried.figure(f"{spent / 9:.0f} tokens charged for each")


@pytest.mark.attack("numbers", "usage with NaN, Infinity, a number beyond a float: no JSON, and no answer")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "01"])
async def test_what_is_no_json_is_no_answer(world: World, number: str) -> None:
    """The endpoint failed, so nobody pays; the next call is served."""
    liar, served = await lied_to(world)
    liar.usage = f'{{"prompt_tokens":{number},"completion_tokens":{number}}}'
    assert await asked(served, "whole") in (200, 502)
    assert await asked(served, "stream") == 200
    liar.usage = usage(3, 2)
    assert await asked(served, "whole") == 200
    assert 20_000 - (await scraped(served))[LEFT] < 200


@pytest.mark.attack("numbers", "usage that can be true is believed, to the token")
@pytest.mark.parametrize("kind", ["whole", "stream"])
async def test_honest_usage_is_believed(world: World, kind: str) -> None:
    liar, served = await lied_to(world)
    liar.usage = usage(4000, 50)  # a system prompt of the model's own
    assert await asked(served, kind, max_tokens=50) == 200
    assert (await scraped(served))[LEFT] == 20_000 - 4050
    liar.usage = usage(4000, 51)  # beyond max_tokens
    assert await asked(served, kind, max_tokens=50) == 200
    assert (await scraped(served))[LEFT] > 20_000 - 4050 - 1000


@pytest.mark.attack("numbers", "a flood of lies is logged once, and counted")
async def test_a_flood_of_lies_writes_no_flood_of_lines(
    world: World, tried: Tried, caplog: pytest.LogCaptureFixture
) -> None:
    liar, served = await lied_to(world)
    liar.usage = usage(3, HUGE)
    tried.times = 200
    with caplog.at_level(logging.WARNING):
        for _ in range(tried.times):
            assert await asked(served, "whole") == 200
    lines = [line for line in caplog.messages if "is not possible" in line]
    assert len(lines) == 1
    assert "llama3" in lines[0]
    assert "9007199254740991 written" in lines[0]
    (count,) = of(await scraped(served), "usage_disbelieved_total").values()
    assert count == tried.times


@pytest.mark.attack("numbers", "without any limits a lie is in no metric, audit entry or log line")
async def test_a_lie_is_recorded_nowhere(world: World) -> None:
    liar, served = await lied_to(world, limits="none", audit={"allow_unauthenticated_reads": True})
    liar.usage = usage(HUGE, HUGE)
    for kind in ("whole", "stream", "embeddings"):
        assert await asked(served, kind) == 200
    assert "e+15" not in (await served.probe("/metrics")).body.decode()
    assert "9007199254740991" not in (await served.probe("/metrics")).body.decode()
    await until(lambda: audit_status(served.gateway.audit)["queued"] == 0, "the entries are stored")
    for entry in (await served.get("/v1/audit/logs?model=llama3"))["data"]:
        assert (entry["tokens_in"], entry["tokens_out"]) == (None, None)
        assert 0 < entry["tokens_counted"] < 120


@pytest.mark.attack("numbers", "an answer of 2^53-1 tokens, then everyone else's day")
async def test_one_absurd_answer_refuses_no_caller_until_midnight(world: World) -> None:
    liar, served = await lied_to(world)
    liar.usage = usage(3, HUGE)
    assert await asked(served, "stream") == 200
    liar.usage = usage(3, 2)
    for number in range(10):
        for _ in range(3):
            assert await asked(served, "whole", f"192.0.2.{number}") == 200


@pytest.mark.attack("numbers", "a caller of long answers and images, then everyone else's first call")
async def test_one_callers_odd_calls_are_its_own_affair(world: World, tried: Tried) -> None:
    """They are true: its own estimate follows them, and nobody else's does."""
    liar, served = await lied_to(world, limits={"default": {"tokens_per_day": 40_000}})
    liar.usage = usage(4000, 250)  # of a body of 100 bytes
    tried.times = 5
    for number in range(tried.times):
        assert await asked(served, "whole", f"192.0.2.{66 + number % 2}") == 200
    reply = await served.ask("POST", CHAT, chat("x" * 8000), {"x-forwarded-for": "192.0.2.1"})
    reserved = 40_000 - int(reply.header("x-ratelimit-remaining-tokens") or 0)
    assert 2000 < reserved < 8000 / 4 + 256 + 100
    tried.figure(f"{reserved} tokens reserved for 8 KB")


def event_with_logprobs(text: str) -> bytes:
    """As Ollama writes it with 20 alternatives: 2 KB for one token."""
    plain = event(text)
    ways = [{"token": f" w{n}", "logprob": -2.5003061294555664, "bytes": [32, 97, 110, 100]} for n in range(20)]
    told = json.dumps({"content": [{**ways[0], "top_logprobs": ways}]}, separators=(",", ":"))
    return plain.replace(b'"finish_reason":null}', b'"finish_reason":null,"logprobs":' + told.encode() + b"}")


@pytest.mark.attack("numbers", "30 streams with logprobs, then one of 400 tokens that is cut before its usage")
async def test_what_a_cut_stream_costs_is_not_the_callers_to_shape(world: World, tried: Tried) -> None:
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        if visit.fields.get("logprobs"):
            events = [framed(event_with_logprobs("word")) for _ in range(10)]
            last = framed(event("", None, choices=[], usage={"prompt_tokens": 9, "completion_tokens": 10}))
            await visit.say(SSE_HEAD, *events, framed(event("", "stop")), last, framed(DONE), END)
            return
        await visit.say(SSE_HEAD, *(framed(event("word")) for _ in range(400)))
        await go_on.wait()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], limits={"default": {"tokens_per_day": 100_000}})
    tried.times = 31
    for _ in range(30):
        reply = await served.ask("POST", CHAT, chat(stream=True, logprobs=True, top_logprobs=20, max_tokens=10))
        assert reply.status == 200
    before = (await scraped(served))[LEFT]
    line = await served.begin(chat(stream=True, max_tokens=500))
    await line.head()
    for _ in range(400):
        await line.event()
    line.vanish()
    await served.recorded(31)
    cost = before - (await scraped(served))[LEFT]
    go_on.set()
    assert 400 <= cost <= 460
    tried.figure(f"{cost:g} tokens charged for 400")


@pytest.mark.attack("numbers", "a stream that is cut, and a gateway that starts anew (real processes)")
@pytest.mark.parametrize("mode", ["best_effort", "blocking", "strict"])
async def test_a_restart_forgets_no_cut_stream(world: World, tried: Tried, mode: str) -> None:
    """What it was charged with is what is restored."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        if not visit.fields.get("stream"):
            await visit.say(whole(answer()))
            return
        await visit.say(SSE_HEAD, *(framed(event("word")) for _ in range(300)))
        await go_on.wait()

    upstream = await world.upstream(act)
    content = config([upstream.url], limits={"default": {"tokens_per_day": 10_000}}, audit={"mode": mode})
    async with serving(world.folder, content) as first:
        await first.ready()
        line = await first.open()
        await line.send("POST", CHAT, chat(stream=True, max_tokens=500))
        await line.head()
        for _ in range(300):
            await line.event()
        line.vanish()
        await until(lambda: '"tokens_counted":' in first.lines, "its access line")
        counted = json.loads(first.lines.splitlines()[-1])["tokens_counted"]
        assert 300 <= counted <= 340
        assert await first.end() == 0
    go_on.set()
    async with serving(world.folder, content) as second:
        await second.ready()
        reply = await second.chat(max_tokens=1)
        left = int(reply.header("x-ratelimit-remaining-tokens") or 0)
    assert 0 <= 10_000 - left - counted <= 40, "the first one's, and the reservation of this very call"
    tried.figure(f"{counted} tokens before, {10_000 - left} after")


@pytest.mark.attack("numbers", "kill -9 in the middle of a stream, in strict mode, and a gateway that starts anew")
async def test_a_killed_gateway_has_charged_what_it_reserved(world: World, tried: Tried) -> None:
    """Nobody knows how much came; the intent says what was reserved."""

    async def act(visit: Visit) -> None:
        if visit.fields.get("stream"):
            await visit.say(SSE_HEAD, framed(event("word")))
            await visit.gone()
        else:
            await visit.say(whole(answer()))

    upstream = await world.upstream(act)
    content = config([upstream.url], limits={"default": {"tokens_per_day": 10_000}}, audit={"mode": "strict"})
    async with serving(world.folder, content) as first:
        await first.ready()
        line = await first.open()
        await line.send("POST", CHAT, chat(stream=True, max_tokens=500))
        await line.head()
        await line.event()
        first.process.kill()
        await first.process.wait()
        line.vanish()
    async with serving(world.folder, content) as second:
        await second.ready()
        reply = await second.chat(max_tokens=1)
        left = int(reply.header("x-ratelimit-remaining-tokens") or 0)
    assert 500 <= 10_000 - left <= 600
    tried.figure(f"{10_000 - left} tokens are used after the start")
