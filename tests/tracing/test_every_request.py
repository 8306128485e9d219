"""Every request leaves exactly one SERVER span, ended once: served, refused, left alone, broken off, shut down."""

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress

import pytest
from tests.flow.line import Line
from tests.flow.test_balancing import fail_as
from tests.flow.upstream import SSE_HEAD, Gate, Visit, answer_well, event, framed
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat
from tests.tracing.receiver import ERROR, SERVER
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
async def test_a_refusal_is_one_span_without_an_error(
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
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n"
        await line.write(f"{head}expect: 100-continue\r\n\r\n".encode())
        assert (await line.head()).status == 100  # the body is waited for
        await line.write(b"{")
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
    """Both the client's answer and the trace show it."""
    gate = Gate()
    served = await traced.gateway(world, [(await world.upstream(gate.act)).url])
    line = await served.begin(chat(stream=True))
    await line.head()
    served.shutdown.request()
    (server,) = await traced.requests()
    assert server.attributes["aigw.outcome"] == "shutdown"
    assert server.attributes["error.type"] == "server_shutdown"
    assert server.status == ERROR


async def test_an_internal_error_has_a_span_like_any_other(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500, and an error."""
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    monkeypatch.setattr(served.gateway.current.now.catalog, "find", None, raising=False)
    assert (await served.chat()).status == 500
    (server,) = await traced.requests()
    assert (server.status, server.attributes["error.type"]) == (ERROR, "internal_error")


class Storm:
    """Endpoints that answer as chance will have it, and clients that leave when it says so."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.answered: set[str] = set()  # ids of requests whose client got a head
        self.sent: set[str] = set()

    async def act(self, visit: Visit) -> None:
        """Well, or in one of the ways in which an endpoint fails."""
        kind = self._rng.choice(("well", "well", "well", "reset", "500", "busy", "404", "garbage", "cut"))
        if kind == "well":
            await answer_well(visit)
        elif kind == "cut":
            await visit.say(SSE_HEAD, framed(event("half")))
            visit.reset()
        else:
            await fail_as(kind, visit)

    async def ask(self, served: Served) -> None:
        """One request, of any kind, on a connection of its own."""
        request_id = f"storm-{len(self.sent)}"
        self.sent.add(request_id)
        bodies = (chat(stream=True), chat(), b"{", chat(model="nope"), chat(max_tokens=0))
        method, path = self._rng.choice((*[("POST", CHAT)] * 6, ("GET", "/v1/models/llama3"), ("PUT", "/nowhere")))
        body = self._rng.choice(bodies) if method == "POST" else None
        line = await served.open()
        await line.send(method, path, body, {"x-request-id": request_id})
        with suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(self._rng.choice((0.0, 0.002, 0.02, 5, 5, 5))):
                assert (await line.head()).header("x-request-id") == request_id
                self.answered.add(request_id)
                await line.rest()
        line.vanish()


async def test_after_many_requests_at_once_each_has_its_one_span(world: World, traced: Traced) -> None:
    """Of any kind and end: each answered request has one span, and every span has its parent."""
    storm = Storm(seed=6)
    upstreams = [await world.upstream(storm.act) for _ in range(3)]
    urls = [upstream.url for upstream in upstreams]
    served = await traced.gateway(world, urls, balancing={"slots": 4})
    for _ in range(10):
        await asyncio.gather(*(storm.ask(served) for _ in range(20)))
    await until(lambda: served.is_idle)
    traced.close()
    servers = traced.receiver.trees()
    assert {server.kind for server in servers} == {SERVER}
    assert len(servers) == len(served.exchanges)
    found = Counter(server.attributes["aigw.request.id"] for server in servers)
    assert storm.answered <= set(found) <= storm.sent
    assert set(found.values()) == {1}
    assert len(storm.answered) > 60
    assert {server.attributes["aigw.outcome"] for server in servers} >= {"ok", "refused", "client_left"}
    assert traced.exporting[0].counts == {"exported": len(traced.receiver.spans), "failed": 0, "dropped": 0}
    traced.exporting.clear()
