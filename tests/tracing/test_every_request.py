"""Every request leaves exactly one SERVER span, ended once: served, refused, left alone, broken off, shut down."""

import asyncio
import json
import random

import pytest
from tests.flow.line import Line
from tests.flow.upstream import SSE_HEAD, Gate, Visit, answer_well, event, framed
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat
from tests.tracing.receiver import ERROR
from tests.tracing.traced import Traced

JSON = {"content-type": "application/json"}


async def nothing(visit: Visit) -> None:
    """Says nothing, and goes when the gateway does."""
    await visit.gone()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("POST", CHAT, chat(model="nope"), 404, "model_not_found"),
        ("GET", CHAT, None, 405, "method_not_allowed"),
        ("POST", CHAT, b"x" * 6000, 413, "body_too_large"),
        ("POST", CHAT, b"{", 400, None),
        ("PATCH", "/", None, 405, "method_not_allowed"),
    ],
)
async def test_a_refusal_is_one_span_without_blame(
    world: World, traced: Traced, method: str, path: str, body: bytes | None, status: int, error: str | None
) -> None:
    """A 4xx is the client's: the span's status stays unset, its error has a name."""
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url], body={"max_bytes": 5000})
    reply = await served.ask(method, path, body)
    assert reply.status == status
    (server,) = await traced.requests()
    assert server.attributes["http.response.status_code"] == status
    assert server.attributes["error.type"] == (error or json.loads(reply.body)["error"]["code"])
    assert (server.status, server.children, server.attributes["aigw.outcome"]) == (0, [], "refused")
    assert server.attributes["http.request.method"] == method
    assert server.trace_id == reply.header("x-trace-id")


async def test_a_full_queue_is_an_error_of_the_gateways(world: World, traced: Traced) -> None:
    """503: the SERVER span and the call's are errors; nothing was sent."""
    served = await traced.gateway(world, [(await world.upstream(nothing)).url], queue={"max_waiting": 0})
    first = await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    assert (await served.chat()).status == 503
    first.leave()
    left, refused = await traced.requests(2)
    assert (refused.status, refused.attributes["error.type"]) == (ERROR, "queue_full")
    (call,) = refused.children
    assert (call.status, call.attributes["error.type"], call.children) == (ERROR, "queue_full", [])
    assert left.attributes["aigw.outcome"] == "client_left"


@pytest.mark.parametrize("way", ["leave", "vanish"])
@pytest.mark.parametrize("phase", ["body", "queue", "first byte", "stream"])
async def test_a_client_that_leaves_ends_its_spans(world: World, traced: Traced, way: str, phase: str) -> None:
    """In each phase, once; no status is made up for one that got none."""

    async def act(visit: Visit) -> None:
        if phase == "stream":
            await visit.say(SSE_HEAD, framed(event("one")))
        await visit.gone()

    upstream = await world.upstream(act)
    served = await traced.gateway(world, [upstream.url])
    line = await _reach(served, phase)
    getattr(line, way)()
    count = 2 if phase == "queue" else 1
    await until(lambda: len(served.exchanges) == count or phase == "queue")
    if phase == "queue":
        served.lines[0].leave()
    for server in await traced.requests(count):
        said = server.attributes
        assert (said["aigw.outcome"], said["error.type"]) == ("client_left", "client_left")
        assert said.get("http.response.status_code") == (200 if phase == "stream" else None)
        assert server.status == 0
        for call in server.children:
            assert call.status == ERROR
            assert all(attempt.attributes.get("error.type") for attempt in call.children) or phase == "stream"


async def _reach(served: Served, phase: str) -> Line:
    if phase == "body":
        line = await served.open()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        await line.write(head.encode())
        await until(lambda: served.gateway.departures is not None)
        await asyncio.sleep(0.05)  # until the head was read: nothing tells of it from outside
        return line
    line = await served.begin(chat(stream=phase == "stream"))
    await until(lambda: served.in_flight == 1)
    if phase == "stream":
        await line.head()
    if phase == "queue":
        line = await served.begin(chat())
        await until(lambda: served.waiting == 1)
    return line


async def test_a_shutdown_ends_the_spans_of_what_was_running(world: World, traced: Traced) -> None:
    """The client is told so, and the trace too."""
    gate = Gate()
    served = await traced.gateway(world, [(await world.upstream(gate.act)).url])
    line = await served.begin(chat(stream=True))
    await line.head()
    served.departure.ask()
    (server,) = await traced.requests()
    assert server.attributes["aigw.outcome"] == "shutdown"
    assert server.attributes["error.type"] == "server_shutdown"
    assert server.status == ERROR


async def test_a_fault_of_the_gateways_own_is_a_span_like_any_other(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500, and an error."""
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    monkeypatch.setattr(served.gateway.current.now.catalog, "find", None, raising=False)
    assert (await served.chat()).status == 500
    (server,) = await traced.requests()
    assert (server.status, server.attributes["error.type"]) == (ERROR, "internal_error")


async def test_after_a_storm_there_are_as_many_spans_as_requests(world: World, traced: Traced) -> None:
    """Of any kind and end, half of the clients gone at some moment; no span twice, none without its parent."""
    chance = random.Random(6)
    simulator = await world.simulator(2, tokens_per_second=400.0)
    served = await traced.gateway(world, simulator.urls, balancing={"slots": 4})

    async def one() -> None:
        line = await served.open()
        body = chance.choice((chat(stream=True, max_tokens=9), chat(), b"{", chat(model="nope")))
        await line.send("POST", CHAT, body)
        try:
            async with asyncio.timeout(chance.choice((0.01, 0.03, 5))):
                await line.reply()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            line.vanish()

    for _ in range(10):
        await asyncio.gather(*(one() for _ in range(20)))
    await until(lambda: served.is_idle)
    asked = len(served.exchanges)
    assert asked > 150  # the client of a request that was never read leaves none
    await traced.requests(asked)
    assert traced.exporting[0].counts["dropped"] == 0
