"""What Prometheus scrapes from a whole gateway: the config in force, endpoints by state, how discovery fares."""

import asyncio
from pathlib import Path
from typing import Any

from tests.flow.kubernetes_api import config_map
from tests.flow.line import Line
from tests.flow.upstream import END, SSE_HEAD, Visit, answer_well, event, framed
from tests.flow.waiting import until
from tests.flow.world import NO_OLLAMA, Served, World, chat, config

from ai_gateway.app import Gateway, Options
from ai_gateway.cluster.config_map import Named


async def scraped(served: Served) -> dict[str, float]:
    """Every sample by its name and labels, without the prefix."""
    reply = await served.probe("/metrics")
    assert reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    lines = (line for line in reply.body.decode().splitlines() if not line.startswith("#"))
    samples = (line.rpartition(" ") for line in lines)
    return {name.removeprefix("ai_gateway_"): float(value) for name, _, value in samples}


async def test_endpoints_are_counted_by_state_and_those_that_leave_with_their_streams_too(world: World) -> None:
    """As long as the stream runs; every state has its line, also at 0."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await go_on.wait()
        await visit.say(END)

    leaving, staying = await world.upstream(act), await world.upstream(answer_well)
    served = await world.gateway([leaving.url])
    line = await served.begin(chat(stream=True))
    await line.head()
    await served.reload(config([staying.url, "http://127.0.0.1:9"]))
    await until(lambda: {e.state for e in served.gateway.fleet.endpoints.values()} == {"up", "down"})
    states = {name: value for name, value in (await scraped(served)).items() if name.startswith("endpoints")}
    assert states == {
        'endpoints{state="up"}': 1,
        'endpoints{state="unknown"}': 0,
        'endpoints{state="down"}': 1,
        'endpoints{state="ejected"}': 0,
        'endpoints{state="draining"}': 1,
    }
    go_on.set()


async def test_a_config_that_was_never_good_is_told(world: World) -> None:
    """No time, no hash, and no success; then all three."""
    served = await world.gateway_with("models: [", is_ready=False)
    before = await scraped(served)
    assert before["config_last_reload_successful"] == 0
    assert before["config_last_reload_success_timestamp_seconds"] == 0
    assert before["config_rejected_total"] == 1
    assert not any(name.startswith("config_info") for name in before)
    served.write("models: {}")
    served.look()
    after = await scraped(served)
    assert after["config_last_reload_successful"] == 1
    assert after["config_last_reload_success_timestamp_seconds"] > 1e9
    assert after[f'config_info{{hash="{served.gateway.live.digest}",source="{served.path}"}}'] == 1


async def test_a_config_that_is_still_being_read_is_no_success(tmp_path: Path) -> None:
    """Nothing is complained of, and nothing is in force."""
    gateway = Gateway(Options(tmp_path / "config.yml", NO_OLLAMA))
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await gateway.admin({"type": "http", "method": "GET", "path": "/metrics", "headers": []}, receive, send)
    assert gateway.live.complaints == []
    assert b"\nai_gateway_config_last_reload_successful 0.0\n" in said[1]["body"]


async def test_a_source_that_asks_nobody_has_no_age(world: World) -> None:
    """And where no ConfigMap is followed, there are no Events to count."""
    samples = await scraped(await world.gateway(["http://127.0.0.1:9"]))
    assert samples['discovery_failing{source="static"}'] == 0
    absent = ("discovery_age_seconds", "discovery_seen", "events_dropped_total")
    assert not any(name.startswith(absent) for name in samples)


async def test_what_discovery_asked_and_saw_is_counted(world: World) -> None:
    """The source's first word is its label: a name of a Service in it would be a new series each time."""
    api = await world.api_server()
    api.put("configmaps", config_map({"models": {"llama3": {}}}))
    served = await world.gateway_beside(api.access(world.folder), Named("models"))
    await served.readiness()
    samples = await scraped(served)
    assert samples['discovery_lists_total{source="kubernetes"}'] == 1
    assert samples['discovery_failures_total{source="kubernetes"}'] == 0
    assert samples['discovery_seen{source="kubernetes"}'] == 0
    assert samples['discovery_age_seconds{source="kubernetes"}'] >= 0
    assert samples["events_dropped_total"] == 0


async def test_a_head_has_the_length_and_no_body(world: World) -> None:
    served = await world.gateway(["http://127.0.0.1:9"])
    line = await Line.open(served.admin_port)
    await line.send("HEAD", "/metrics")
    reply = await line.head()
    assert reply.status == 200
    assert int(reply.header("content-length") or 0) > 1000
    await line.send("GET", "/livez")  # what comes next is the next answer
    assert (await line.reply()).json == {"live": True}
    line.leave()
