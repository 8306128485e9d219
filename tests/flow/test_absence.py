"""No endpoint is there, as when Ollama is scaled to zero: calls may wait for a first one."""

import asyncio

from tests.flow.scraping import scraped
from tests.flow.upstream import answer_well
from tests.flow.waiting import soon, until
from tests.flow.world import World, chat

WAITING = {"wait_for_endpoints": "10m"}


async def test_calls_wait_for_a_first_endpoint(world: World) -> None:
    """They count as demand, which an autoscaler reads; then the model is loaded, and they are answered."""
    simulator = await world.simulator(load_seconds=0.1)
    simulator.endpoints[0].kill()
    served = await world.gateway(simulator.urls, queue=WAITING, timeouts={"queue": "50ms", "load": "20s"})
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "down")
    lines = [await served.begin(chat(max_tokens=1)) for _ in range(3)]
    await until(lambda: served.waiting == 3)
    assert (await scraped(served))['demand{model="llama3"}'] == 3
    simulator.endpoints[0].restart()
    assert [(await line.reply()).status for line in lines] == [200] * 3


async def test_a_stream_hears_that_it_waits_for_an_endpoint(world: World) -> None:
    """With comments, as in every wait."""
    simulator = await world.simulator()
    simulator.endpoints[0].kill()
    served = await world.gateway(simulator.urls, queue=WAITING, timeouts={"heartbeat": "20ms"})
    line = await served.begin(chat(stream=True))
    await line.head()
    assert await soon(line.event()) == ": waiting for an endpoint with the model"
    line.leave()


async def test_the_wait_for_an_endpoint_does_not_count_as_one_for_a_load(world: World) -> None:
    """Nor as one for a slot: each begins when the endpoint is there."""
    simulator = await world.simulator()
    simulator.endpoints[0].kill()
    timeouts = {"heartbeat": "20ms", "queue": "1s", "load": "1s"}
    served = await world.gateway(simulator.urls, queue=WAITING, timeouts=timeouts)
    line = await served.begin(chat(stream=True, max_tokens=1))
    await line.head()
    for _ in range(60):  # in all at least 1180 ms
        assert await soon(line.event()) == ": waiting for an endpoint with the model"
    simulator.endpoints[0].restart()
    assert b"[DONE]" in await line.rest()


async def test_what_a_first_endpoint_has_loaded_is_asked_before_a_call_goes_there(world: World) -> None:
    """The gateway loads the model; the call does not find it cold."""
    simulator = await world.simulator(load_seconds=0.2)
    simulator.endpoints[0].kill()
    served = await world.gateway(simulator.urls, queue=WAITING)
    line = await served.begin(chat(max_tokens=1))
    await until(lambda: served.waiting)
    simulator.endpoints[0].restart()
    assert (await line.reply()).header("x-ai-gateway-reason") == "only"
    assert (await served.recorded()).attempts[0].is_warm
    assert simulator.endpoints[0].ledger.by_path["/api/embed"] == 1


async def test_the_model_may_come_later_than_the_endpoint(world: World) -> None:
    """A new pod may have to pull it."""
    upstream = await world.upstream(answer_well, models=())
    served = await world.gateway([upstream.url], queue=WAITING)
    line = await served.begin(chat())
    await until(lambda: served.waiting == 1)
    upstream.models = ("llama3:latest",)
    assert (await line.reply()).status == 200


async def test_a_wait_for_endpoints_ends(world: World) -> None:
    """503 no_endpoint, about when the config says so."""
    served = await world.gateway([], queue={"wait_for_endpoints": "200ms"})
    began = asyncio.get_running_loop().time()
    reply = await served.chat()
    assert (reply.status, reply.error["code"]) == (503, "no_endpoint")
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert served.waiting == 0


async def test_without_that_setting_nobody_waits_for_endpoints(world: World) -> None:
    """The error comes at once."""
    served = await world.gateway([])
    assert (await served.chat()).error["code"] == "no_endpoint"
    assert (await scraped(served))['demand{model="llama3"}'] == 0


async def test_a_queue_without_endpoints_is_bounded_too(world: World) -> None:
    served = await world.gateway([], queue={"wait_for_endpoints": "10m", "max_waiting": 1})
    line = await served.begin(chat())
    await until(lambda: served.waiting == 1)
    assert (await served.chat()).error["code"] == "queue_full"
    line.leave()


async def test_clients_that_leave_while_no_endpoint_is_there_leave_nothing(world: World) -> None:
    """Their places are free at once."""
    served = await world.gateway([], queue=WAITING)
    lines = [await served.begin(chat(stream=bool(number % 2))) for number in range(4)]
    await until(lambda: served.waiting == 4)
    for line in lines:
        line.leave()
    await until(lambda: served.is_idle)
