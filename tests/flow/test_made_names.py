"""Records of calls to a model for which the gateway makes names: the version that answered stands in the access line,
the span and the audit; limits, filters and metrics know the model by the config's id."""

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.flow.test_audit import entries, written
from tests.flow.test_operations import SpansOfAll
from tests.flow.upstream import Visit, whole
from tests.flow.waiting import until
from tests.flow.world import Served, World, chat

from ai_gateway.telemetry import names
from ai_gateway.telemetry.access_log import describe
from ai_gateway.wire.made_names import key_of, read_made

KEY, TAG = key_of("default", "coder"), "codellama:13b"
OPEN = {"allow_unauthenticated_reads": True}
CODER = {"ollama": "codellama", "version": "13b", "system": "Be brief.", "aliases": ["code"]}


async def made(world: World, mode: str = "best_effort", **sections: Any) -> Served:
    """A gateway that has made a version of `coder` on its one endpoint; it traces and audits all."""
    world.tracing = SpansOfAll()
    urls, models = (await world.simulator()).urls, {"llama3": {}, "coder": CODER}
    served = await world.gateway(urls, models=models, audit={**OPEN, "mode": mode}, **sections)
    (endpoint,) = served.gateway.fleet.endpoints.values()
    served_names = endpoint.residency.served
    await until(lambda: KEY in served_names.made and served_names.wanted(KEY, endpoint.residency.digest_of), "made")
    return served


def name_in(served: Served) -> str:
    """Ollama's name of what calls get."""
    (endpoint,) = served.gateway.fleet.endpoints.values()
    name = endpoint.residency.name_for(KEY)
    assert read_made(name) is not None
    return name


async def found(served: Served, filters: str) -> list[Any]:
    """Entries that the audit gives for these filters."""
    entries: list[Any] = (await served.get(f"/v1/audit/logs?{filters}"))["data"]
    return entries


@pytest.mark.parametrize("stream", [False, True])
async def test_the_records_of_a_call_name_the_version_that_answered(world: World, stream: bool) -> None:
    served = await made(world)
    assert (await served.chat(model="coder", stream=stream)).status == 200
    exchange = await served.recorded()
    name = name_in(served)
    line = describe(exchange)
    assert (line.model, line.ollama_model) == ("coder", name)
    (entry,) = await written(world, 1)
    assert (entry.model_asked, entry.model_served) == ("coder", name)
    assert isinstance(world.tracing, SpansOfAll)
    _, call, attempt = world.tracing.spans
    assert (call.attributes or {})[names.RESPONSE_MODEL] == name
    assert (attempt.attributes or {})[names.UPSTREAM_VERSION] == name


async def test_a_span_has_the_same_name_whatever_version_answers(world: World) -> None:
    """Else each rollout would bring new names of spans, on each endpoint another one."""
    served = await made(world)
    await served.chat(model="coder")
    await served.recorded()
    assert isinstance(world.tracing, SpansOfAll)
    _, call, _ = world.tracing.spans
    assert call.name == f"chat {TAG}"
    assert (call.attributes or {})[names.REQUEST_MODEL] == TAG
    assert (call.attributes or {})[names.MODEL_REQUESTED] == "coder"


async def test_the_audit_finds_the_call_by_the_id_that_the_client_wrote(world: World) -> None:
    served = await made(world)
    for asked in ("coder", "code", "llama3"):
        assert (await served.chat(model=asked)).status == 200
    await written(world, 3)
    name = name_in(served)
    assert [(one["model_asked"], one["model_served"]) for one in await found(served, "model=coder")] == [
        ("coder", name)
    ]
    assert [(one["model_asked"], one["model_served"]) for one in await found(served, "model=code")] == [("code", name)]
    assert await found(served, f"model={name}") == []


async def test_no_label_of_a_metric_is_a_made_name(world: World) -> None:
    """The model's label is its id, for an alias too."""
    served = await made(world)
    for asked in ("coder", "code"):
        await served.chat(model=asked, stream=True)
    await served.recorded(2)
    text = (await served.probe("/metrics")).body.decode()
    assert "ai-gateway-default" not in text
    counted = {
        (sample.labels["model"], sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == names.REQUESTS and sample.labels["route"] == "/v1/chat/completions"
    }
    assert counted == {("coder", 2.0)}


async def test_a_limit_of_the_model_holds_whatever_name_is_called(world: World) -> None:
    served = await made(world, limits={"models": {"coder": {"rpm": 1}}})
    statuses = [(await served.chat(model=asked)).status for asked in ("coder", "code", "llama3")]
    assert statuses == [200, 429, 200]


async def test_a_call_that_no_version_answered_names_the_one_that_was_called(world: World) -> None:
    """Not the tag: whoever looks for a broken version finds it."""
    name = f"{KEY}:0123456789-1-0123456789ab"
    held = {"models": [{"name": name, "model": name, "digest": "0" * 64, "size": 1}]}
    loaded = {"models": [{"name": name, "model": name, "digest": "0" * 64}]}

    async def breaks(visit: Visit) -> None:
        visit.reset()

    state = {"/api/tags": whole(json.dumps(held).encode()), "/api/ps": whole(json.dumps(loaded).encode())}
    upstream = await world.upstream(breaks, state=state)
    world.tracing = SpansOfAll()
    served = await world.gateway([upstream.url], models={"coder": CODER}, audit=OPEN, reconcile={"mode": "never"})
    await until(lambda: served.endpoint(upstream.address).is_resident(KEY), "loaded")
    assert (await served.ask("POST", "/v1/chat/completions", chat(model="coder"))).status == 502
    (entry,) = await written(world, 1)
    assert (entry.model_asked, entry.model_served) == ("coder", name)
    attempts = [span for span in world.tracing.spans if span.name == "POST"]
    assert {(span.attributes or {}).get(names.UPSTREAM_VERSION) for span in attempts} == {name}


async def test_an_intent_names_the_model_before_a_version_is_chosen(world: World) -> None:
    """It is written before there is an endpoint: the end has the version."""
    served = await made(world, mode="strict")
    await served.chat(model="coder")
    await written(world, 1)
    served_as = [one.model_served for kind in ("intent", "end") for one in entries(world, kind)]
    assert served_as == [TAG, name_in(served)]
