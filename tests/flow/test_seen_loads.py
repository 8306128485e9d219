"""What can be seen of loads: by callers, in records, in a scrape and in the log."""

import logging

from tests.flow.scraping import scraped
from tests.flow.test_audit import written
from tests.flow.waiting import until
from tests.flow.world import World, chat

from ai_gateway.exchange import CURRENT, Exchange
from ai_gateway.simulator.faults import Fault

LOAD_SECONDS = 0.2


async def test_a_call_that_waited_for_a_load_says_so_everywhere(world: World) -> None:
    """The next one finds the model loaded, and has waited for none."""
    simulator = await world.simulator(load_seconds=LOAD_SECONDS)
    served = await world.gateway(simulator.urls, audit={"level": "metadata"})
    reply = await served.chat(max_tokens=1)
    assert (reply.status, reply.header("x-ai-gateway-reason")) == (200, "only")
    first = (await served.recorded()).times
    assert first.load_wait_seconds > LOAD_SECONDS / 2
    assert (await served.chat(max_tokens=1)).status == 200
    second = (await served.recorded(2)).times
    assert second.load_wait_seconds == 0.0
    (one, other) = await written(world, 2)
    assert one.load_ms == round(first.load_wait_seconds * 1000)
    assert other.load_ms is None
    assert one.reason == other.reason == "only"
    found = await scraped(served)
    assert found['loads_total{model="llama3",room="free"}'] == 1
    assert found['load_seconds_count{model="llama3",outcome="loaded"}'] == 1
    assert found['load_wait_seconds_count{model="llama3"}'] == 1
    assert found['queue_wait_seconds_count{model="llama3"}'] == 2
    assert found['picks_total{model="llama3",reason="only"}'] == 2
    assert found['learned_load_seconds{model="llama3"}'] > LOAD_SECONDS / 2


async def test_a_load_belongs_to_no_request_in_the_log(world: World) -> None:
    """It outlives the call that it was begun for, and others wait for it, too."""
    heard: list[tuple[str, Exchange | None]] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append((record.getMessage(), CURRENT.get()))

    ear, log = Ear(), logging.getLogger("ai_gateway.balancing")
    log.addHandler(ear)
    log.setLevel(logging.INFO)
    try:
        simulator = await world.simulator()
        served = await world.gateway(simulator.urls)
        assert (await served.chat(max_tokens=1)).status == 200
        await until(lambda: len(heard) == 2, "the load begins and ends")
    finally:
        log.removeHandler(ear)
        log.setLevel(logging.NOTSET)
    assert [text.split(": ")[1].split(" in ")[0] for text, _ in heard] == [
        "loading llama3:latest",
        "loaded llama3:latest",
    ]
    assert [exchange for _, exchange in heard] == [None, None]


async def test_health_shows_a_load_under_way(world: World) -> None:
    """Where, how far it is, and who waits for it; afterwards what was learned."""
    simulator = await world.simulator()
    faults = simulator.endpoints[0].faults
    faults.add(Fault(kind="hang", path="/api/embed"))
    served = await world.gateway(simulator.urls)
    await served.begin(chat())
    await until(lambda: served.gateway.fleet.loads.of, "a load begins")
    health = await served.get("/v1/health")
    (load,) = health["loads"].pop("under_way")
    assert load.pop("seconds") >= 0
    assert load == {
        "model": "llama3:latest",
        "endpoint": simulator.urls[0],
        "phase": "loading",
        "in_place_of": None,
    }
    assert health["loads"] == {"decides": True, "leader": None, "failed": []}
    model = health["models"]["llama3"]
    assert (model["state"], model["waiting"], model["loaded_on"]) == ("loading", 1, 0)
    assert (model["policy"], model["load_seconds"], model["call_seconds"]) == ("warm", None, None)
    assert health["endpoints"][0]["runners"] == []


async def test_health_shows_why_a_model_cannot_be_loaded(world: World) -> None:
    """With Ollama's reason, and when it is tried again; the caller gets the reason, too."""
    simulator = await world.simulator()
    simulator.endpoints[0].faults.add(Fault(kind="status", path="/api/embed", message="no memory left"))
    served = await world.gateway(simulator.urls)
    error = (await served.chat()).error
    assert error["code"] == "load_failed"
    assert "no memory left" in error["message"]
    (failed,) = (await served.get("/v1/health"))["loads"]["failed"]
    assert 0 < failed.pop("again_in_seconds") <= 10.0
    assert failed == {"model": "llama3:latest", "endpoint": simulator.urls[0], "reason": "no memory left"}
    assert (await scraped(served))['load_failing{model="llama3"}'] == 1


async def test_health_tells_what_is_loaded_with_which_context(world: World) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    assert (await served.chat(max_tokens=1)).status == 200
    endpoint = served.endpoint(simulator.urls[0].removeprefix("http://"))
    await until(lambda: endpoint.context_of("llama3:latest"), "a poll sees it")
    health = await served.get("/v1/health")
    assert health["endpoints"][0]["runners"] == [{"model": "llama3:latest", "context": 4096}]
    assert health["models"]["llama3"]["loaded_on"] == 1
    assert health["models"]["llama3"]["call_seconds"] is not None
