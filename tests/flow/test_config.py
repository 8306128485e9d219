"""config.yml while the gateway runs: what is good is in force at once, what is bad changes nothing and is reported."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.flow.upstream import DONE, END, SSE_HEAD, Visit, answer_well, event, framed
from tests.flow.waiting import until
from tests.flow.world import MODELS, NO_OLLAMA, Served, World, chat, config

from ai_gateway.app import Gateway
from ai_gateway.options import Options

STREAM = chat(stream=True)


async def config_status(served: Served) -> dict[str, Any]:
    """What health says of the config."""
    reply = await served.ask("GET", "/v1/health")
    found: dict[str, Any] = reply.json["config"]
    return found


async def test_a_new_model_is_served_and_a_removed_one_is_not(world: World) -> None:
    """Live, without a restart; what runs for the removed one is finished."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        if visit.fields["model"] == "llama3:latest":
            await go_on.wait()
        await answer_well(visit)

    upstream = await world.upstream(act, models=("llama3:latest", "new:1b"))
    served = await world.gateway([upstream.url])
    running = await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    waiting = await served.begin(chat())
    await until(lambda: served.waiting == 1)
    assert (await served.chat(model="new")).status == 404
    await served.reload(config([upstream.url], models={"new": {"version": "1b"}}))
    assert (await served.chat(model="new")).status == 200
    assert (await served.chat()).error["code"] == "model_not_found"
    assert [model["id"] for model in (await served.get("/v1/models"))["data"]] == ["new"]
    go_on.set()
    assert [(await line.reply()).status for line in (running, waiting)] == [200, 200]


async def four_calls(world: World, model: str, **sections: Any) -> tuple[Served, str, asyncio.Event]:
    """One call runs and three wait, at an endpoint with this URL that answers when the event is set."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await go_on.wait()
        await answer_well(visit)

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], **sections)
    for _ in range(4):
        await served.begin(chat(model=model))
    await until(lambda: (served.in_flight, served.waiting) == (1, 3))
    return served, upstream.url, go_on


async def test_more_slots_serve_those_who_wait(world: World) -> None:
    """At once, not with the next call."""
    served, url, go_on = await four_calls(world, "llama3")
    await served.reload(config([url], balancing={"slots": 3}))
    await until(lambda: (served.in_flight, served.waiting) == (3, 1))
    await served.reload(config([url], models={**MODELS, "llama3": {"slots": 4}}))
    await until(lambda: (served.in_flight, served.waiting) == (4, 0))
    go_on.set()


async def test_more_slots_serve_those_who_wait_for_a_model_that_was_discovered(world: World) -> None:
    """The config does not name its pool."""
    discover: dict[str, Any] = {"models": {}, "catalog": {"discover": True}}
    served, url, go_on = await four_calls(world, "llama3:latest", **discover)
    await served.reload(config([url], **discover, balancing={"slots": 3}))
    await until(lambda: (served.in_flight, served.waiting) == (3, 1))
    go_on.set()


async def test_an_endpoint_that_left_the_list_drains(world: World) -> None:
    """Nothing new goes there, its stream comes to its end, and then its connections are closed."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await go_on.wait()
        await visit.say(framed(event("", "stop")), framed(DONE), END)

    old, new = await world.upstream(act), await world.upstream(answer_well)
    served = await world.gateway([old.url])
    line = await served.begin(STREAM)
    await line.head()
    await line.event()
    await served.reload(config([new.url]))
    await until(lambda: len(served.gateway.fleet.leaving) == 1)
    await until(lambda: served.endpoint(new.address).state == "up")
    assert (await served.chat()).status == 200
    assert len(old.visits) == 1
    probes = len(old.asked)
    go_on.set()
    blocks = []
    while (block := await line.event()) is not None:
        blocks.append(block)
    assert blocks[-1] == "data: [DONE]"
    await until(lambda: old.connections == 0, "the drained endpoint has no connection any more")
    assert len(old.asked) == probes
    assert (await served.recorded(2)).outcome.kind == "ok"


async def test_an_endpoint_that_comes_back_while_it_drains_keeps_its_count(world: World) -> None:
    """Taken out and put back: its running call still counts, so no more than `slots` run there."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await go_on.wait()
        await answer_well(visit)

    upstream = await world.upstream(act)
    other = await world.upstream(answer_well, models=())
    served = await world.gateway([upstream.url])
    first = await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    await served.reload(config([other.url]))
    await until(lambda: len(served.gateway.fleet.leaving) == 1)
    await served.reload(config([upstream.url]))
    await until(lambda: [e.address.authority for e in served.gateway.fleet.endpoints.values()] == [upstream.address])
    second = await served.begin(chat())
    await until(lambda: served.waiting or len(upstream.visits) == 2)
    assert len(upstream.visits) == 1
    go_on.set()
    assert [(await line.reply()).status for line in (first, second)] == [200, 200]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("models: [", "YAML"),
        ("models: {a: {nope: 1}}", "models.a"),
        ("nope: 1", "nope"),
        ("? [a, b]\n: c\n", ""),
        ("? {a: b}\n: c\n", ""),
        ("{models: {[a, b]: {}}}", ""),
        ("2026-13-99: x\n", ""),
        ("\x00", ""),
        ("[" * 5000, ""),
        ("timeouts: {queue: 0}", "timeouts.queue"),
        ("discovery: {static: ['ftp://x']}", "discovery.static[0]"),
        ("", None),
    ],
)
async def test_bad_content_keeps_the_last_good_config(
    world: World, caplog: pytest.LogCaptureFixture, content: str, words: str | None
) -> None:
    """Health tells what is wrong, the log says it once, calls are served on; and the next good content is taken."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    before = served.gateway.current.now
    if words is None:
        served.path.unlink()
    else:
        served.write(content)
    await served.refused()
    status_now = await config_status(served)
    assert status_now["last_reload"] == "refused"
    assert (words or "") in str(status_now["complaints"])
    assert (await served.get("/v1/health"))["gateway"] == "ok"
    assert (await served.chat(max_tokens=1)).status == 200
    assert served.gateway.current.now is before
    assert served.gateway.config_file is not None
    for _ in range(3):
        await served.gateway.config_file.check()
    refusals = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(refusals) == len(status_now["complaints"])
    await served.reload(config(simulator.urls, models={"fresh": {"ollama": "llama3"}}))
    assert (await config_status(served))["last_reload"] == "ok"
    assert (await served.chat(model="fresh", max_tokens=1)).status == 200


async def test_what_needs_a_restart_is_named(world: World) -> None:
    """Accepted, in the log and in health; the rest of the change is in force."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    assert (await config_status(served))["restart_required"] == []
    changed = config(simulator.urls, listen="127.0.0.1:1", admin=":2", models={"fresh": {"ollama": "llama3"}})
    await served.reload(changed)
    assert (await config_status(served))["restart_required"] == ["listen", "admin"]
    assert (await served.chat(model="fresh", max_tokens=1)).status == 200
    await served.reload(config(simulator.urls))
    assert (await config_status(served))["restart_required"] == []


@pytest.mark.parametrize("content", ["models: [", ""])
async def test_without_a_valid_config_nothing_is_ready_until_it_is_mended(world: World, content: str) -> None:
    """Not ready, health 503, calls refused in a way that tells to come back; it heals with the file."""
    simulator = await world.simulator()
    served = await world.gateway_with("models: [", is_ready=False)
    if not content:
        served.path.unlink()
    ready = await served.probe("/readyz")
    assert ready.status == 503
    assert "config" in ready.json["reason"]
    assert (await served.probe("/livez")).status == 200
    reply = await served.chat()
    assert reply.status == 503
    assert reply.error["type"] == "backend_unavailable"
    served.write(config(simulator.urls))
    await served.readiness()
    assert (await served.chat(max_tokens=1)).status == 200
    assert (await served.ask("GET", "/v1/health")).status == 200


async def test_health_is_503_without_a_valid_config(world: World) -> None:
    """The gateway itself cannot serve."""
    served = await world.gateway_with("models: [", is_ready=False)
    await until(lambda: not served.gateway.readiness.is_starting)
    reply = await served.ask("GET", "/v1/health")
    assert reply.status == 503
    assert "config" in reply.json["gateway"]


@pytest.mark.parametrize("is_draining", [False, True])
async def test_health_says_at_once_that_the_gateway_cannot_serve(tmp_path: Path, is_draining: bool) -> None:
    """Also while the first look at the endpoints goes on; formerly it said ok until that was over."""
    path = tmp_path / "config.yml"
    path.write_text("models: {}" if is_draining else "models: [")
    gateway = Gateway(Options(path, NO_OLLAMA))
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    async with gateway.following_config():
        assert gateway.readiness.is_starting
        if is_draining:
            gateway.leave()
        await gateway.api({"type": "http", "method": "GET", "path": "/v1/health", "headers": []}, receive, send)
    assert said[0]["status"] == 503
    reason = json.loads(said[1]["body"])["gateway"]
    assert reason == "draining" if is_draining else reason.startswith("no valid config: not valid YAML")


async def test_timeouts_change_live(world: World) -> None:
    """A call keeps what was in force when it came; the next one has the new."""

    async def act(visit: Visit) -> None:
        await visit.gone()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], balancing={"slots": 9})
    old = await served.begin(chat())
    await until(lambda: served.in_flight == 1)
    await served.reload(config([upstream.url], balancing={"slots": 9}, timeouts={"total": "50ms"}))
    assert (await served.chat()).error["code"] == "total_timeout"
    assert served.in_flight == 1
    old.leave()


async def test_a_discovery_change_finds_models_and_forgets_the_old_list(world: World) -> None:
    """From one endpoint to another, and to none."""
    first, second = await world.upstream(answer_well), await world.upstream(answer_well)
    served = await world.gateway([first.url])
    assert (await served.chat()).status == 200
    await served.reload(config([second.url]))
    await until(lambda: [e.address.authority for e in served.gateway.fleet.endpoints.values()] == [second.address])
    assert (await served.chat()).status == 200
    assert (len(first.visits), len(second.visits)) == (1, 1)
    await until(lambda: first.connections == 0)
    await served.reload(config([]))
    await until(lambda: not served.gateway.fleet.endpoints)
    assert (await served.chat()).error["code"] == "no_endpoint"
    await until(lambda: second.connections == 0)
