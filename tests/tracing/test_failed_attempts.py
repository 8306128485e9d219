"""Failures on the way to Ollama, or before it: each span that they concern shows them once."""

import asyncio
from typing import Any

import pytest
from tests.flow.test_balancing import fails_once
from tests.flow.upstream import DONE, END, SSE_HEAD, Act, Visit, answer_well, event, framed, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, World, chat
from tests.tracing.receiver import ERROR, Span
from tests.tracing.traced import Traced


async def holds(visit: Visit) -> None:
    """Never answers."""
    await visit.gone()


async def stops_talking(visit: Visit) -> None:
    """One event, and no more."""
    await visit.say(SSE_HEAD, framed(event("one")))
    await visit.gone()


async def breaks_off(visit: Visit) -> None:
    """No head, but the end of the connection."""
    visit.reset()


def in_order(call: Span) -> list[Span]:
    """The attempts of a call."""
    return sorted(call.children, key=lambda span: span.start_ns)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("reset", "upstream_disconnected", None),
        ("garbage", "upstream_disconnected", None),
        ("500", "500", 500),
        ("busy", "503", 503),
        ("404", "404", 404),
    ],
)
async def test_each_failed_attempt_has_its_own_span(
    world: World, traced: Traced, kind: str, error: str, status: int | None, stream: bool
) -> None:
    """Two HTTP spans, the second numbered; each endpoint got its own; the call itself is no error."""
    first, second = await fails_once(world, kind)
    served = await traced.gateway(world, [first.url, second.url])
    assert (await served.chat(stream=stream)).status == 200
    (server,) = await traced.requests()
    (call,) = server.children
    failed, went_well = in_order(call)
    assert (failed.status, failed.attributes["error.type"]) == (ERROR, error)
    assert failed.attributes.get("http.response.status_code") == status
    assert "http.request.resend_count" not in failed.attributes
    assert (went_well.status, went_well.attributes["http.request.resend_count"]) == (0, 1)
    assert went_well.attributes["http.response.status_code"] == 200
    assert (call.status, server.status, server.attributes["aigw.outcome"]) == (0, 0, "ok")
    received = {upstream.port: upstream.visits[0].headers["traceparent"] for upstream in (first, second)}
    for attempt in (failed, went_well):
        assert received[attempt.attributes["server.port"]] == f"00-{server.trace_id}-{attempt.span_id}-01"
    assert call.attributes["server.port"] == went_well.attributes["server.port"]
    assert failed.end_ns <= went_well.start_ns


async def test_a_connection_that_is_refused_is_an_attempt_too(world: World, traced: Traced) -> None:
    """The endpoint went away a moment ago: nothing was answered, and the call was tried elsewhere."""
    simulator = await world.simulator(count=2)
    polling = {"interval": "60s", "models_interval": "60s"}
    served = await traced.gateway(world, simulator.urls, polling=polling, models={"llama3": {"resident": 2}})
    await served.loaded()
    simulator.endpoints[0].kill()
    for number in range(1, 64):  # which of two equals is asked is chance
        assert (await served.chat(str(number), max_tokens=1)).status == 200
        calls = [server.children[0] for server in await traced.requests(number)]
        if any(len(call.children) == 2 for call in calls):
            break
    (call,) = (call for call in calls if len(call.children) == 2)
    failed, went_well = in_order(call)
    assert failed.attributes["error.type"] == "upstream_unreachable"
    assert (failed.status, went_well.status) == (ERROR, 0)


@pytest.mark.parametrize(
    ("act", "stream", "timeouts", "status", "error"),
    [
        (breaks_off, False, {}, 502, "upstream_disconnected"),
        (breaks_off, True, {}, 502, "upstream_disconnected"),
        (holds, True, {"first_byte": "100ms"}, 504, "first_byte_timeout"),
        (holds, False, {"total": "100ms"}, 504, "total_timeout"),
        (stops_talking, True, {"idle": "100ms"}, 200, "idle_timeout"),
        (stops_talking, True, {"stream": "1s"}, 200, "total_timeout"),
    ],
)
async def test_an_endpoint_that_fails_for_good_is_an_error_of_all_spans_above(
    world: World, traced: Traced, act: Act, stream: bool, timeouts: dict[str, str], status: int, error: str
) -> None:
    """What the client got is the status; after the first event the call was cut, and the trace says so."""
    served = await traced.gateway(world, [(await world.upstream(act)).url], timeouts=timeouts)
    assert (await served.chat(stream=stream)).status == status
    (server,) = await traced.requests()
    (call,) = server.children
    assert (server.status, call.status) == (ERROR, ERROR)
    assert server.attributes["http.response.status_code"] == status
    assert server.attributes["error.type"] == call.attributes["error.type"] == error
    assert server.attributes["aigw.outcome"] == ("timeout" if "timeout" in error else "upstream_broke")
    attempt = in_order(call)[-1]
    has_begun = act is stops_talking
    assert ("aigw.truncated" in call.event_names, "aigw.phase.decode" in call.attributes) == (has_begun, has_begun)
    assert (attempt.attributes.get("error.type"), attempt.status) == ((None, 0) if has_begun else (error, ERROR))


async def test_a_wait_without_a_slot_is_recorded_with_its_length(world: World, traced: Traced) -> None:
    """A queue_timeout: no attempt, and all of the call was the queue."""
    served = await traced.gateway(world, [(await world.upstream(holds)).url], timeouts={"queue": "80ms"})
    first = await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    assert (await served.chat()).status == 503
    first.leave()
    _, server = await traced.requests(2)
    (call,) = server.children
    assert (server.status, call.attributes["error.type"], call.children) == (ERROR, "queue_timeout", [])
    assert call.event_names == ["aigw.queued"]
    assert call.attributes["aigw.phase.queue"] >= 0.07  # its own clock begins a little later
    assert "server.address" not in call.attributes


async def test_a_body_of_another_type_is_refused_without_a_call(world: World, traced: Traced) -> None:
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    assert (await served.ask("POST", CHAT, chat(), {"content-type": "text/html"})).status == 415
    (server,) = await traced.requests()
    assert (server.status, server.attributes["error.type"], server.children) == (0, "unsupported_media_type", [])


async def test_ollamas_refusal_is_an_error_of_the_call_and_not_of_the_server(world: World, traced: Traced) -> None:
    """A 400 of Ollama's: SERVER stays unset, the CLIENT spans are errors, as the conventions say."""

    async def refuses(visit: Visit) -> None:
        await visit.say(whole(b'{"error":"SECRET does not support chat"}', "400 Bad Request"))

    served = await traced.gateway(world, [(await world.upstream(refuses)).url])
    assert (await served.chat()).status == 400
    (server,) = await traced.requests()
    (call,) = server.children
    (attempt,) = call.children
    assert (server.status, call.status, attempt.status) == (0, ERROR, ERROR)
    assert (attempt.attributes["http.response.status_code"], attempt.attributes["error.type"]) == (400, "400")
    assert call.attributes["error.type"] == "model_lacks_capability"


async def test_a_second_signal_ends_what_runs_with_one_span_each(world: World, traced: Traced) -> None:
    """At once: streams, whole answers and waiting calls."""
    upstream = await world.upstream(stops_talking)
    served = await traced.gateway(world, [upstream.url], balancing={"slots": 2})
    begun = [await served.begin(chat(stream=True)), await served.begin(chat()), await served.begin(chat())]
    await until(lambda: len(upstream.visits) == 2 and served.waiting == 1)
    served.shutdown.request()
    served.shutdown.request()
    servers = await traced.requests(len(begun))
    assert {server.attributes["aigw.outcome"] for server in servers} == {"shutdown"}
    assert all(server.attributes["error.type"] for server in servers)
    assert {server.status for server in servers} == {ERROR}


async def test_requests_of_one_connection_are_traces_of_their_own(world: World, traced: Traced) -> None:
    """Kept alive, one behind the other, and of any kind."""
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    line = await served.open()
    ids = []
    for method, path, body in [("POST", CHAT, chat()), ("GET", "/v1/models", None), ("POST", CHAT, chat(stream=True))]:
        await line.send(method, path, body)
        ids.append((await line.reply()).header("x-trace-id"))
    await line.send("HEAD", "/v1/models")
    ids.append((await line.head()).header("x-trace-id"))
    servers = await traced.requests(len(ids))
    assert [server.trace_id for server in servers] == ids
    assert len(set(ids)) == len(ids)
    assert servers[-1].name == "HEAD /v1/models"


async def test_concurrent_calls_have_their_own_spans_while_others_fail(world: World, traced: Traced) -> None:
    """Ten at a time, half of them cut: each span's error and id are those that its own client saw."""

    async def act(visit: Visit) -> None:
        is_cut = "cut" in visit.body.decode()
        await visit.say(SSE_HEAD, framed(event("one")))
        if is_cut:
            visit.reset()
        else:
            await visit.say(framed(event("", "stop")), framed(DONE), END)

    served = await traced.gateway(world, [(await world.upstream(act)).url], balancing={"slots": 10})
    asked = [chat("cut" if number % 2 else "well", stream=True) for number in range(10)]
    replies: list[Any] = await asyncio.gather(*(served.ask("POST", CHAT, body) for body in asked))
    by_trace = {server.trace_id: server for server in await traced.requests(10)}
    for number, reply in enumerate(replies):
        server = by_trace[reply.header("x-trace-id")]
        assert server.attributes["aigw.outcome"] == ("upstream_broke" if number % 2 else "ok")
        assert server.children[0].attributes["gen_ai.response.id"] in reply.body.decode()
