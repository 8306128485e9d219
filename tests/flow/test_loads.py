"""The gateway loads models by its own calls: for calls that wait, and for `resident`. What is said when that fails."""

import asyncio
import json
import logging
from collections import Counter
from typing import Any

import pytest
from tests.flow.line import Line, error_in
from tests.flow.upstream import Visit, answer_well, whole
from tests.flow.waiting import PATIENCE_SECONDS, until
from tests.flow.world import MODELS, World, chat

from ai_gateway.simulator import Simulator
from ai_gateway.simulator.faults import Fault

LOADED = whole(b'{"model":"llama3:latest","embeddings":[]}')
OUT_OF_MEMORY = whole(b'{"error":"model requires more system memory"}', "500 Internal Server Error")


class Loading:
    """Loads a model once it may."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun: list[Visit] = []

    async def act(self, visit: Visit) -> None:
        """Waits, then has loaded."""
        self.begun.append(visit)
        await self.may_end.wait()
        await visit.say(LOADED)


async def out_of_memory(visit: Visit) -> None:
    """As Ollama fails to load."""
    await visit.say(OUT_OF_MEMORY)


def loads(simulator: Simulator) -> list[Any]:
    """The bodies of all requests to load a model."""
    asked = (request for endpoint in simulator.endpoints for request in endpoint.ledger.last)
    return [json.loads(request.body) for request in asked if request.path == "/api/embed"]


async def test_a_cold_model_is_loaded_once_for_all_that_wait(world: World) -> None:
    """By a call of the gateway's own; no call meets a cold model."""
    simulator = await world.simulator(load_seconds=0.2)
    served = await world.gateway(simulator.urls)
    lines = [await served.begin(chat(str(number), max_tokens=1)) for number in range(5)]
    assert {(await line.reply()).status for line in lines} == {200}
    assert loads(simulator) == [{"model": "llama3:latest"}]
    assert all(exchange.attempts[0].is_warm for exchange in served.exchanges if exchange.attempts)


async def test_a_client_that_leaves_does_not_end_a_load(world: World) -> None:
    """The next one finds the model there."""
    simulator = await world.simulator(load_seconds=0.3)
    served = await world.gateway(simulator.urls)
    scheduler = simulator.endpoints[0].pod.leasing.scheduler
    line = await served.begin(chat(max_tokens=1))
    await until(lambda: scheduler.loading is not None)
    line.vanish()
    await until(lambda: served.is_idle)
    await served.loaded()
    assert (scheduler.loads, scheduler.aborted_loads) == (1, 0)


async def test_a_gateway_that_ends_in_a_load_ends_it_quietly(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it is an error, and no task is left behind."""
    loading = Loading()
    upstream = await world.upstream(answer_well, is_cold=True, load=loading.act)
    served = await world.gateway([upstream.url])
    line = await served.begin(chat(stream=True))
    await until(lambda: loading.begun)
    served.shutdown.request()
    served.shutdown.request()
    assert (await line.reply()).error["code"] == "server_shutdown"
    await loading.begun[0].gone()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_keep_alive_goes_with_loads(world: World) -> None:
    """In Ollama's words; without it the endpoint's own setting holds."""
    simulator = await world.simulator()
    served = await world.gateway(
        simulator.urls, models={"llama3": {"keep_alive": "90m"}, "mistral": {}, "coder": {"ollama": "codellama:13b"}}
    )
    assert (await served.chat(max_tokens=1)).status == 200
    assert (await served.chat(model="coder", max_tokens=1)).status == 200
    assert loads(simulator) == [{"model": "llama3:latest", "keep_alive": "90m"}, {"model": "codellama:13b"}]


async def test_resident_models_are_loaded_without_calls(world: World) -> None:
    """As many copies as the config says, from the start; another model stays cold."""
    simulator = await world.simulator(count=3)
    served = await world.gateway(simulator.urls, models={**MODELS, "llama3": {"resident": 2}})

    def copies() -> int:
        return sum(endpoint.is_resident("llama3:latest") for endpoint in served.gateway.fleet.endpoints.values())

    await until(lambda: copies() == 2)
    assert Counter(asked["model"] for asked in loads(simulator)) == {"llama3:latest": 2}


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "501 Not Implemented"])
async def test_a_model_that_makes_no_embeddings_is_loaded_by_an_empty_prompt(world: World, status: str) -> None:
    """With the same keep_alive; a call then finds it loaded."""
    asked: list[tuple[str, Any]] = []

    async def load(visit: Visit) -> None:
        asked.append((visit.path, visit.fields))
        if visit.path == "/api/embed":
            await visit.say(whole(b'{"error":"this model does not support embeddings"}', status))
        else:
            await visit.say(LOADED)

    upstream = await world.upstream(answer_well, is_cold=True, load=load)
    served = await world.gateway([upstream.url], models={"llama3": {"keep_alive": "5m"}})
    assert (await served.chat()).status == 200
    body = {"model": "llama3:latest", "keep_alive": "5m"}
    assert asked == [("/api/embed", body), ("/api/generate", body)]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_load_that_takes_too_long_is_model_loading(world: World, stream: bool) -> None:
    """503 after `timeouts.load`, with when to come back; the queue's time does not count meanwhile."""
    loading = Loading()
    upstream = await world.upstream(answer_well, is_cold=True, load=loading.act)
    served = await world.gateway([upstream.url], timeouts={"load": "300ms", "queue": "50ms"})
    reply = await served.chat(stream=stream)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (503, "model_loading", "backend_unavailable")
    assert 1 <= int(reply.header("retry-after") or 0) <= 15


async def test_a_load_goes_on_after_timeouts_load(world: World) -> None:
    """Whoever comes later finds the model there, however short a wait the config allows."""
    simulator = await world.simulator(load_seconds=0.6)
    served = await world.gateway(simulator.urls, timeouts={"load": "100ms"})
    assert (await served.chat(max_tokens=1)).error["code"] == "model_loading"
    await served.loaded()
    assert (await served.chat(max_tokens=1)).status == 200
    scheduler = simulator.endpoints[0].pod.leasing.scheduler
    assert (scheduler.loads, scheduler.aborted_loads) == (1, 0)


async def test_a_load_that_fails_everywhere_is_load_failed(world: World) -> None:
    """503 with Ollama's reason, and when it is tried again; each endpoint was asked once."""
    upstreams = [await world.upstream(answer_well, is_cold=True, load=out_of_memory) for _ in range(2)]
    served = await world.gateway([upstream.url for upstream in upstreams])
    reply = await served.chat()
    assert (reply.status, reply.error["code"]) == (503, "load_failed")
    assert "model requires more system memory" in reply.error["message"]
    assert 1 <= int(reply.header("retry-after") or 0) <= 10
    assert [upstream.asked.count("/api/embed") for upstream in upstreams] == [1, 1]
    assert not any(upstream.visits for upstream in upstreams)


async def test_an_endpoint_that_is_away_has_not_failed_to_load(world: World) -> None:
    """It counts as down before a probe has told so. It is asked again as soon as it is back, without a back-off."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, polling={"interval": "1s"})
    simulator.endpoints[0].kill()
    await until(lambda: not simulator.endpoints[0].is_open)
    reply = await served.chat(max_tokens=1)
    assert (reply.status, reply.error["code"]) == (503, "no_endpoint")
    assert served.gateway.fleet.loads.backoffs == {}
    simulator.endpoints[0].restart()
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "up")
    assert (await served.chat(max_tokens=1)).status == 200


async def test_a_load_that_fails_on_one_endpoint_is_made_on_another(world: World) -> None:
    """The call waits for that one."""
    bad = await world.upstream(answer_well, is_cold=True, load=out_of_memory)
    good = await world.upstream(answer_well, is_cold=True)
    served = await world.gateway([bad.url, good.url])
    for _ in range(3):
        assert (await served.chat()).status == 200
    assert (len(bad.visits), len(good.visits)) == (0, 3)


async def test_a_stream_hears_what_it_waits_for(world: World) -> None:
    """The model's load; then its place in the queue and when its turn comes."""
    loading, hold = Loading(), asyncio.Event()

    async def act(visit: Visit) -> None:
        if len(upstream.visits) > 1:
            await hold.wait()
        await answer_well(visit)

    upstream = await world.upstream(act, state={"/api/ps": whole(b'{"models":[]}')}, load=loading.act)
    served = await world.gateway([upstream.url], timeouts={"heartbeat": "20ms"})
    first = await served.begin(chat(stream=True))
    await first.head()
    assert await heard(first, ": waiting for the model to load")
    del upstream.state["/api/ps"]
    loading.may_end.set()
    assert b"[DONE]" in await first.rest()
    await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    second, third = [await served.begin(chat(stream=True)) for _ in range(2)]
    await second.head()
    await third.head()
    assert await heard(second, ": waiting for a free slot, number 1 in the queue, about 1 s")
    assert await heard(third, ": waiting for a free slot, number 2 in the queue, about 1 s")
    hold.set()


async def heard(line: Line, comment: str) -> bool:
    """Reads comments until this one comes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (block := await line.event()) != comment:
            assert block is not None
            assert block.startswith(":"), block
    return True


async def fail(visit: Visit) -> None:
    """As a runner that dies."""
    await visit.say(whole(b'{"error":"llama runner process has terminated"}', "500 Internal Server Error"))


async def test_a_call_that_is_sent_again_waits_for_a_load_elsewhere(world: World) -> None:
    """The model is still loaded where the call failed: that does not help it, and the queue's time does not count."""
    loading = Loading()
    bad = await world.upstream(fail)
    good = await world.upstream(answer_well, is_cold=True, load=loading.act)
    served = await world.gateway([bad.url, good.url], timeouts={"queue": "50ms", "heartbeat": "20ms"})
    line = await served.begin(chat(stream=True))
    await line.head()
    for _ in range(6):  # in all more than twice the queue's time
        assert await heard(line, ": waiting for the model to load")
    loading.may_end.set()
    assert b"[DONE]" in await line.rest()
    assert [attempt.error for attempt in (await served.recorded()).attempts] == ["upstream_error", None]


async def test_a_call_whose_load_elsewhere_takes_too_long_is_model_loading(world: World) -> None:
    loading = Loading()
    bad = await world.upstream(fail)
    good = await world.upstream(answer_well, is_cold=True, load=loading.act)
    served = await world.gateway([bad.url, good.url], timeouts={"load": "300ms"})
    reply = await served.chat()
    assert (reply.status, reply.error["code"]) == (503, "model_loading")


async def test_a_call_that_no_other_endpoint_can_serve_fails_with_the_first_error(world: World) -> None:
    """At once: nobody else holds the model."""
    bad = await world.upstream(fail)
    other = await world.upstream(answer_well, models=("other:1b",))
    served = await world.gateway([bad.url, other.url])
    reply = await served.chat()
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")
    assert not other.looks or "/api/embed" not in other.asked


async def test_a_gateway_that_may_not_load_waits_and_then_asks_anyway(world: World) -> None:
    """After `balancing.starve` the call goes to the least busy endpoint; Ollama loads the model for it."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls, balancing={"loads": "never", "starve": "100ms"})
    reply = await served.chat(max_tokens=1)
    assert (reply.status, reply.header("x-ai-gateway-reason")) == (200, "waited")
    assert loads(simulator) == []
    assert not (await served.recorded()).attempts[0].is_warm


async def test_a_failed_load_after_the_early_200_is_an_event(world: World) -> None:
    """As every error."""
    loading = Loading()

    async def load(visit: Visit) -> None:
        loading.begun.append(visit)
        await loading.may_end.wait()
        await out_of_memory(visit)

    upstream = await world.upstream(answer_well, is_cold=True, load=load)
    served = await world.gateway([upstream.url], timeouts={"heartbeat": "20ms"})
    line = await served.begin(chat(stream=True))
    await line.head()
    assert await heard(line, ": waiting for the model to load")
    loading.may_end.set()
    last = (await line.rest()).split(b"\n\n")[-2]
    assert error_in(last.removeprefix(b"data: "))["code"] == "load_failed"


async def test_a_load_that_hangs_takes_no_other_model_with_it(world: World) -> None:
    """It is another endpoint's work to load that."""
    simulator = await world.simulator(count=2)
    for endpoint in simulator.endpoints:
        endpoint.faults.add(Fault(kind="hang", path="/api/embed", model="llama3"))
    served = await world.gateway(simulator.urls)
    await served.begin(chat())
    await until(lambda: loads(simulator))
    assert (await served.chat(model="coder", max_tokens=1)).status == 200
