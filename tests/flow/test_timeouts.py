"""Each phase has its deadline; a slow answer is no failure of the endpoint's."""

import asyncio
import json
from typing import Any

import pytest
from tests.flow.line import error_in
from tests.flow.upstream import DONE, END, SSE_HEAD, Visit, answer, event, framed, whole
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.simulator.faults import Fault

STREAM = chat(stream=True)


async def hold(visit: Visit) -> None:
    """Never answers."""
    await visit.gone()


async def silent_after_one(visit: Visit) -> None:
    """One event, and no more."""
    await visit.say(SSE_HEAD, framed(event("one")))
    await visit.gone()


async def over(world: World, act: Any, **timeouts: str) -> Served:
    """A gateway over one hand-made endpoint."""
    return await world.gateway([(await world.upstream(act)).url], timeouts=timeouts)


@pytest.mark.parametrize("stream", [False, True])
async def test_waiting_too_long_in_the_queue_is_queue_timeout(world: World, stream: bool) -> None:
    """503 with when to come back."""
    served = await over(world, hold, queue="100ms")
    await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    reply = await served.chat(stream=stream)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (503, "queue_timeout", "backend_unavailable")
    assert reply.header("retry-after")
    assert served.waiting == 0


async def test_no_first_byte_of_a_stream_in_time_is_504(world: World) -> None:
    """JSON with its status, since nothing has gone out."""
    served = await over(world, hold, first_byte="100ms")
    reply = await served.chat(stream=True)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (
        504,
        "first_byte_timeout",
        "backend_unavailable",
    )
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.status) == ("timeout", 504)


async def test_a_head_is_no_first_byte(world: World) -> None:
    """An endpoint that sends its head and then nothing is as silent as one that sends nothing."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD)
        await visit.gone()

    served = await over(world, act, first_byte="150ms", idle="150ms")
    reply = await served.chat(stream=True)
    assert (reply.status, reply.error["type"]) == (504, "backend_unavailable")


async def test_silence_between_chunks_ends_a_stream(world: World) -> None:
    """An error event of code idle_timeout, recorded as a timeout."""
    served = await over(world, silent_after_one, idle="100ms")
    reply = await served.chat(stream=True)
    error = error_in(reply.events[-1].removeprefix("data: "))
    assert (error["code"], error["type"]) == ("idle_timeout", "backend_unavailable")
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.status, record.outcome.error_code) == ("timeout", 504, "idle_timeout")


async def test_comments_do_not_keep_a_silent_endpoint_alive(world: World) -> None:
    """The heartbeat is for the client; the endpoint's silence is measured all the same."""
    served = await over(world, silent_after_one, idle="800ms", heartbeat="30ms")
    reply = await served.chat(stream=True)
    assert any(block.startswith(":") for block in reply.events)
    assert error_in(reply.events[-1].removeprefix("data: "))["code"] == "idle_timeout"


async def test_comments_do_not_keep_an_endpoint_without_first_byte_alive(world: World) -> None:
    """After the early 200 the timeout is an event, with its status in the record."""
    served = await over(world, hold, first_byte="800ms", heartbeat="30ms")
    reply = await served.chat(stream=True)
    assert reply.status == 200
    assert error_in(reply.events[-1].removeprefix("data: "))["code"] == "first_byte_timeout"
    assert (await served.recorded()).outcome.status == 504


async def test_a_queue_timeout_after_the_early_200_is_an_event(world: World) -> None:
    """503 in the record, queue_timeout in the event, no [DONE]."""
    served = await over(world, hold, queue="800ms", heartbeat="30ms")
    await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    reply = await served.chat(stream=True)
    assert reply.status == 200
    assert reply.events[0].startswith(":")
    assert error_in(reply.events[-1].removeprefix("data: "))["code"] == "queue_timeout"
    assert (await served.recorded()).outcome.status == 503


async def test_a_steady_slow_stream_is_not_idle(world: World) -> None:
    """Each event starts the clock anew, however long the stream."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD)
        for number in range(8):
            await asyncio.sleep(0.2)
            await visit.say(framed(event(str(number))))
        await visit.say(framed(event("", "stop")), framed(DONE), END)

    served = await over(world, act, idle="1s", first_byte="1s")
    reply = await served.chat(stream=True)
    assert reply.events[-1] == "data: [DONE]"


async def test_a_whole_answer_has_only_the_total_deadline(world: World) -> None:
    """Ollama sends its head when the answer is finished: first byte and idle do not count."""

    async def act(visit: Visit) -> None:
        await asyncio.sleep(0.2)
        await visit.say(whole(answer()))

    served = await over(world, act, first_byte="50ms", idle="50ms")
    assert (await served.chat()).status == 200
    served = await over(world, hold, total="100ms")
    reply = await served.chat()
    assert (reply.status, reply.error["code"]) == (504, "total_timeout")
    assert (await served.recorded()).outcome.kind == "timeout"


async def test_a_stream_has_a_total_deadline_too(world: World) -> None:
    """An endless stream is cut at `timeouts.stream` with an error event."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD)
        while True:
            await visit.say(framed(event("and")))
            await asyncio.sleep(0.01)

    served = await over(world, act, stream="500ms")
    reply = await served.chat(stream=True)
    assert len(reply.events) > 2
    assert error_in(reply.events[-1].removeprefix("data: "))["code"] == "total_timeout"


@pytest.mark.parametrize("name", ["x-stainless-read-timeout", "x-request-timeout"])
async def test_the_clients_patience_is_the_deadline(world: World, name: str) -> None:
    """A clear 504 a little before the client's own timeout."""
    served = await over(world, hold)
    reply = await served.ask("POST", CHAT, chat(), {name: "1"})
    assert (reply.status, reply.error["code"]) == (504, "total_timeout")
    assert "within 0.95 s" in reply.error["message"]
    for odd in ("-1", "0", "nan", "inf", "soon", ""):
        line = await served.begin(chat(), headers={name: odd})
        await until(lambda: served.in_flight == 1)
        line.leave()
        await until(lambda: served.is_idle)


async def test_of_two_timeouts_of_the_client_the_shorter_one_holds(world: World) -> None:
    """OpenAI's clients send the first of their own accord."""
    served = await over(world, hold)
    reply = await served.ask("POST", CHAT, chat(), {"x-stainless-read-timeout": "600", "x-request-timeout": "0.2"})
    assert (reply.status, reply.error["code"]) == (504, "total_timeout")


async def test_a_stream_ends_within_the_clients_total(world: World) -> None:
    """X-Request-Timeout is for all of a call, in whatever form its answer comes."""

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD)
        while True:
            await visit.say(framed(event("and")))
            await asyncio.sleep(0.01)

    served = await over(world, act)
    line = await served.begin(STREAM, headers={"x-request-timeout": "0.5"})
    reply = await soon(line.reply())
    assert len(reply.events) > 2
    error = error_in(reply.events[-1].removeprefix("data: "))
    assert error["code"] == "total_timeout"
    assert "within 0.475 s" in error["message"]


async def test_the_clients_patience_with_silence_does_not_limit_a_stream(world: World) -> None:
    """Only how long it hears nothing: a comment comes in time, not before a second, and then the stream goes on."""
    begun = asyncio.get_running_loop().time()
    served = await over(world, hold)
    line = await served.begin(STREAM, headers={"x-stainless-read-timeout": "0.3"})
    assert (await soon(line.head())).status == 200
    assert asyncio.get_running_loop().time() - begun >= 1
    for _ in range(2):
        assert (await soon(line.event()) or "").startswith(":")
    line.leave()


async def test_a_stream_of_a_patient_client_is_not_silent_longer_than_usual(world: World) -> None:
    """Proxies on the way are less patient; the default of OpenAI's clients is ten minutes."""
    served = await over(world, hold, heartbeat="30ms")
    line = await served.begin(STREAM, headers={"x-stainless-read-timeout": "600"})
    assert (await soon(line.head())).status == 200
    line.leave()


async def test_patience_counts_in_the_queue_too(world: World) -> None:
    """A call that waits for a slot is answered before its client gives up."""
    served = await over(world, hold)
    await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    reply = await served.ask("POST", CHAT, chat(), {"x-stainless-read-timeout": "0.2"})
    assert reply.status == 504
    assert served.waiting == 0


async def test_a_model_may_have_timeouts_of_its_own(world: World) -> None:
    """They go before the common ones, each by itself."""
    upstream = await world.upstream(hold, models=("llama3:latest", "other:latest"))
    models = {"llama3": {"timeouts": {"first_byte": "50ms"}}, "other": {"timeouts": {"total": "50ms"}}}
    served = await world.gateway([upstream.url], models=models, timeouts={"first_byte": "5s", "total": "5s"})
    assert (await served.chat(stream=True)).error["code"] == "first_byte_timeout"
    assert (await served.chat(model="other")).error["code"] == "total_timeout"


async def test_a_slow_answer_never_ejects(world: World) -> None:
    """Timeouts again and again: the endpoint still answers /api/version, so it stays."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls, timeouts={"first_byte": "30ms", "total": "30ms"})
    for endpoint in simulator.endpoints:
        endpoint.faults.add(Fault(kind="hang", routes="openai"))
    for number in range(14):
        assert (await served.chat(stream=bool(number % 2))).status == 504
    assert {endpoint["state"] for endpoint in (await served.get("/v1/health"))["endpoints"]} == {"up"}
    assert all(endpoint.health.failures == 0 for endpoint in served.gateway.fleet.endpoints.values())


async def test_an_endpoint_that_takes_no_connection_in_time_is_passed_over(world: World) -> None:
    """`timeouts.connect` holds; the call goes elsewhere. The full queue of a listener stands for a lost pod."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        simulator = await world.simulator()
        urls = [f"http://127.0.0.1:{listener.getsockname()[1]}", *simulator.urls]
        served = await world.gateway(urls, is_ready=False, timeouts={"connect": "700ms"}, polling={"interval": "30s"})
        await soon(served.gateway.fleet.listed.wait())
        await until(lambda: served.endpoint(simulator.addresses[0]).holds("llama3:latest"))
        for _ in range(3):
            assert (await served.chat(max_tokens=1)).status == 200
    finally:
        for sock in (*fillers, listener):
            sock.close()


async def test_an_endpoint_that_answers_no_probe_is_down(world: World) -> None:
    """It takes connections and says nothing: two probes without an answer in `polling.timeout`, and it is down."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls, polling={"interval": "50ms", "timeout": "100ms"})
    simulator.endpoints[0].faults.add(Fault(kind="hang", routes="state"))
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "down")
    simulator.endpoints[0].faults.clear()
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "up")
    assert json.loads((await served.ask("GET", "/v1/health")).body)["ollama"] == "ok"
