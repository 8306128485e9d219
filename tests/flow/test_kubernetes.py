"""Beside a Kubernetes API server: pods come and go, the config is a ConfigMap, and the server may be away."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.flow.kubernetes_api import KubernetesApi, config_map, pod
from tests.flow.upstream import DONE, END, SSE_HEAD, Upstream, Visit, answer_well, event, framed
from tests.flow.waiting import PATIENCE_SECONDS, soon, until
from tests.flow.world import MODELS, NO_OLLAMA, Served, World, chat, config

from ai_gateway.cluster.config_map import ConfigMapRef

MAP = ConfigMapRef("models")
BAD = "models: {llama3: {slots: many}}"


class Gate:
    """Answers calls once it is opened; a stream has said one word by then."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def act(self, visit: Visit) -> None:
        """Begins, waits, and ends well."""
        if not visit.fields.get("stream"):
            await self.opened.wait()
            await answer_well(visit)
            return
        await visit.say(SSE_HEAD, framed(event("one")))
        await self.opened.wait()
        await visit.say(framed(event("", "stop")), framed(DONE), END)


async def beside(world: World, api: KubernetesApi, *, is_ready: bool = True, **sections: Any) -> Served:
    """A gateway that finds the pods of this API server; its config is a file that says nothing of them."""
    content = config([], **sections)
    del content["discovery"]
    return await world.gateway_with(yaml.safe_dump(content), is_ready=is_ready, access=api.access(world.folder))


async def following(world: World, api: KubernetesApi) -> Served:
    """A gateway whose config is in a ConfigMap."""
    return await world.gateway_beside(api.access(world.folder), MAP)


async def health(served: Served, holds: Callable[[Any], object]) -> Any:
    """What /v1/health says, once something holds of it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            shown = (await served.ask("GET", "/v1/health")).json
            if holds(shown):
                return shown
            await asyncio.sleep(0.01)


async def metric(served: Served, name: str) -> float:
    """The one reading of a metric, whatever its labels."""
    lines = (await served.probe("/metrics")).body.decode().splitlines()
    (line,) = (line for line in lines if line.partition("{")[0].partition(" ")[0] == f"ai_gateway_{name}")
    return float(line.rpartition(" ")[2])


async def one_pod(world: World, api: KubernetesApi) -> Upstream:
    """An API server that knows one pod, which answers well."""
    upstream = await world.upstream(answer_well)
    api.put("pods", pod(upstream))
    return upstream


async def test_pods_are_found_through_a_kubeconfig_and_named(world: World) -> None:
    """Without a word in the config; health and the record of a call tell which pod it was."""
    api = await world.api_server()
    upstream = await one_pod(world, api)
    served = await beside(world, api)
    assert (await served.chat()).status == 200
    shown = await served.get("/v1/health")
    assert shown["discovery"]["source"] == "kubernetes pods"
    assert shown["discovery"]["complaint"] is None
    assert [(seen["pod"], seen["node"], seen["address"]) for seen in shown["endpoints"]] == [
        ("ai/ollama-0", "node-1", upstream.url)
    ]
    assert (await served.recorded()).attempts[0].pod == "ai/ollama-0"


async def test_a_pod_that_becomes_ready_gets_the_calls_that_wait_for_one(world: World) -> None:
    """It is there before, and counts as seen and not as an endpoint."""
    api = await world.api_server()
    upstream = await world.upstream(answer_well)
    api.put("pods", pod(upstream, is_ready=False))
    served = await beside(world, api)
    shown = await health(served, lambda shown: shown["discovery"]["left_out"])
    assert shown["endpoints"] == []
    discovery = shown["discovery"]
    assert (discovery["selector"], discovery["namespaces"]) == ("app.kubernetes.io/name=ollama", ["ai"])
    assert (discovery["seen"], discovery["complaint"]) == (1, None)
    assert discovery["left_out"] == [{"reason": "is not ready", "count": 1, "pods": ["ai/ollama-0"]}]
    assert (await served.chat()).error["code"] == "no_endpoint"
    api.put("pods", pod(upstream))
    await until(lambda: served.gateway.fleet.endpoints)
    await until(lambda: served.endpoint(upstream.address).holds("llama3:latest"))
    assert (await served.chat()).status == 200
    shown = (await served.get("/v1/health"))["discovery"]
    assert (shown["left_out"], shown["hint"]) == ([], None)


@pytest.mark.parametrize("way", ["not ready", "deleted"])
async def test_a_pod_that_goes_gets_no_new_call_and_finishes_its_stream(world: World, way: str) -> None:
    """Its neighbour gets what comes next."""
    gate = Gate()
    api = await world.api_server()
    going, staying = await world.upstream(gate.act), await world.upstream(answer_well)
    api.put("pods", pod(going))
    served = await beside(world, api)
    line = await served.begin(chat(stream=True))
    await line.head()
    await line.event()
    api.put("pods", pod(staying, "ollama-1"))
    if way == "deleted":
        api.delete("pods", "ollama-0")
    else:
        api.put("pods", pod(going, is_ready=False))
    await until(lambda: len(served.gateway.fleet.leaving) == 1)
    await until(lambda: served.endpoint(staying.address).holds("llama3:latest"))
    for _ in range(3):
        assert (await served.chat()).status == 200
    assert (len(going.visits), len(staying.visits)) == (1, 3)
    gate.opened.set()
    assert (await line.rest()).endswith(DONE)
    await until(lambda: going.connections == 0, "nothing is left of the pod that went")


@pytest.mark.parametrize("way", ["not ready", "deleted"])
@pytest.mark.parametrize("is_told_first", [True, False])
async def test_a_call_that_crashes_pods_gets_no_third_unless_they_were_deleted(
    monkeypatch: pytest.MonkeyPatch, world: World, way: str, is_told_first: bool
) -> None:
    """A container that crashes makes its pod not ready, which is no sign that somebody wants the pod gone."""
    monkeypatch.setattr("ai_gateway.edge.attempts.DEPARTURE_SECONDS", 3600)
    api = await world.api_server()
    upstreams: list[Upstream] = []

    async def crash(visit: Visit) -> None:
        (number,) = (number for number, upstream in enumerate(upstreams) if visit in upstream.visits)
        if way == "deleted":
            api.delete("pods", f"ollama-{number}")
        else:
            api.put("pods", pod(upstreams[number], f"ollama-{number}", is_ready=False))
        upstreams[number].refuse()
        if is_told_first:
            await until(lambda: upstreams[number].address not in _known(served))
        visit.reset()

    for number in range(4):
        upstreams.append(await world.upstream(crash))
        api.put("pods", pod(upstreams[number], f"ollama-{number}"))
    served = await beside(world, api, polling={"interval": "60s", "models_interval": "60s"})
    await until(lambda: len(served.gateway.fleet.endpoints) == 4)
    assert (await served.chat()).status == 502
    assert sum(len(upstream.visits) for upstream in upstreams) == (4 if way == "deleted" else 2)


def _known(served: Served) -> set[str]:
    return {address.authority for address in served.gateway.fleet.endpoints}


async def test_a_pod_says_how_many_calls_it_takes_at_a_time(world: World) -> None:
    """OLLAMA_NUM_PARALLEL goes before balancing.slots."""
    gate = Gate()
    api = await world.api_server()
    api.put("pods", pod(await world.upstream(gate.act), OLLAMA_NUM_PARALLEL="3"))
    served = await beside(world, api, balancing={"slots": 1})
    for _ in range(5):
        await served.begin(chat())
    await until(lambda: served.in_flight + served.waiting == 5)
    assert (served.in_flight, served.waiting) == (3, 2)
    gate.opened.set()


async def test_an_api_server_that_is_away_takes_nothing_away(world: World) -> None:
    """Calls go on; health has the reason and an age that grows, until the server is back and discovery sees news."""
    api = await world.api_server()
    await one_pod(world, api)
    served = await beside(world, api)
    await api.stop()
    shown = await health(served, lambda shown: "refused" in (shown["discovery"]["complaint"] or ""))
    assert shown["gateway"] == "ok"
    assert (await served.chat()).status == 200
    age = shown["discovery"]["age_seconds"]
    await health(served, lambda shown: shown["discovery"]["age_seconds"] > age)
    assert await metric(served, "discovery_failing") == 1
    new = await world.upstream(answer_well)
    api.put("pods", pod(new, "ollama-1"))
    await api.start()
    shown = await health(served, lambda shown: not shown["discovery"]["complaint"])
    await until(lambda: len(served.gateway.fleet.endpoints) == 2)
    assert await metric(served, "discovery_failing") == 0


async def test_a_version_that_is_gone_leads_to_a_new_list(world: World) -> None:
    """410 after an outage: the pod that went in the meantime is drained, and the other one was never touched."""
    api = await world.api_server()
    upstream = await one_pod(world, api)
    api.put("pods", pod(await world.upstream(answer_well), "ollama-1"))
    served = await beside(world, api)
    kept = served.endpoint(upstream.address)
    await api.stop()
    api.refusals["watch"] = 410
    api.delete("pods", "ollama-1")
    await api.start()
    await until(lambda: list(served.gateway.fleet.endpoints.values()) == [kept])
    assert (await served.chat()).status == 200
    assert kept.state == "up"


async def test_a_verb_that_is_missing_is_named(world: World) -> None:
    """In health, with what to grant."""
    api = await world.api_server()
    api.refusals["list"] = 403
    served = await beside(world, api, is_ready=False)
    shown = await health(served, lambda shown: shown["discovery"]["complaint"])
    assert (
        "does not allow the gateway to list pods in namespace ai: grant list and watch"
        in shown["discovery"]["complaint"]
    )


async def test_an_edit_of_the_config_map_takes_effect(world: World) -> None:
    """Live: the new model is served and the old one is not."""
    api = await world.api_server()
    upstream = await world.upstream(answer_well, models=("llama3:latest", "new:1b"))
    api.put("configmaps", config_map(config([upstream.url])))
    served = await following(world, api)
    await served.readiness()
    assert (await served.chat()).status == 200
    before = served.gateway.current.now
    api.put("configmaps", config_map(config([upstream.url], models={"new": {"version": "1b"}})))
    await until(lambda: served.gateway.current.now is not before)
    assert (await served.chat(model="new")).status == 200
    assert (await served.chat()).error["code"] == "model_not_found"
    shown = await served.get("/v1/health")
    assert shown["config"]["source"] == "ConfigMap ./models, key config.yml"


async def test_a_bad_edit_keeps_the_last_good_config_and_is_reported(world: World) -> None:
    """In health, in the metric, and in one Event; the next good one is taken."""
    api = await world.api_server()
    upstream = await world.upstream(answer_well)
    good = config_map(config([upstream.url]))
    api.put("configmaps", good)
    served = await following(world, api)
    await served.readiness()
    assert await metric(served, "config_last_reload_successful") == 1
    edited = api.put("configmaps", config_map(BAD))
    shown = (await health(served, lambda shown: shown["config"]["complaints"]))["config"]
    assert (shown["last_reload"], shown["complaints"][0]["path"]) == ("refused", "models.llama3.slots")
    assert (await served.chat()).status == 200
    assert await metric(served, "config_last_reload_successful") == 0
    await until(lambda: api.events)
    (posted,) = api.events
    assert (posted["reason"], posted["type"], posted["count"]) == ("ConfigRejected", "Warning", 1)
    assert posted["message"].startswith("models.llama3.slots: ")
    about = posted["involvedObject"]
    assert (about["name"], about["uid"], about["resourceVersion"]) == (
        "models",
        edited["metadata"]["uid"],
        edited["metadata"]["resourceVersion"],
    )
    api.put("configmaps", good)
    await health(served, lambda shown: shown["config"]["last_reload"] == "ok")
    assert await metric(served, "config_last_reload_successful") == 1


async def test_health_says_when_a_config_map_cannot_be_watched_any_more(world: World) -> None:
    """Though the last config is in force and nothing was refused: an edit would not be seen."""
    api = await world.api_server()
    upstream = await world.upstream(answer_well)
    api.put("configmaps", config_map(config([upstream.url])))
    served = await following(world, api)
    await served.readiness()
    assert await metric(served, "config_failing") == 0
    await api.stop()
    shown = (await health(served, lambda shown: shown["config"]["complaints"]))["config"]
    assert shown["complaints"][0]["message"].startswith("the gateway cannot see edits of the ConfigMap now: ")
    assert shown["last_reload"] == "ok"
    assert await metric(served, "config_failing") == 1
    assert (await served.chat()).status == 200
    await api.start()
    await health(served, lambda shown: not shown["config"]["complaints"])


async def test_one_content_is_one_event_however_often_it_is_put_there(world: World) -> None:
    """A change of labels is no repeat; the same mistake made again raises the count."""
    api = await world.api_server()
    good = config_map(config([(await world.upstream(answer_well)).url]))
    api.put("configmaps", config_map(BAD))
    served = await following(world, api)
    await until(lambda: api.events)
    bad = config_map(BAD)
    api.put("configmaps", bad | {"metadata": bad["metadata"] | {"labels": {"a": "b"}}})
    await health(served, lambda shown: shown["config"]["last_reload"] == "refused")
    api.put("configmaps", good)
    await served.readiness()
    assert [posted["count"] for posted in api.events] == [1]
    api.put("configmaps", config_map(BAD))
    await until(lambda: [posted["count"] for posted in api.events] == [2])
    assert (await served.chat()).status == 200


async def test_gateways_that_refuse_the_same_edit_share_its_event(world: World) -> None:
    """However many there are: one Event, counted once."""
    api = await world.api_server()
    api.put("configmaps", config_map(BAD))
    for _ in range(2):
        served = await following(world, api)
        assert (await served.probe("/readyz")).status == 503
    await until(lambda: api.asked.count("create events") == 2 and "patch events" in api.asked)
    assert [posted["count"] for posted in api.events] == [1]


async def test_a_deleted_config_map_keeps_the_last_good_config(world: World) -> None:
    """It is said; what comes in its place is taken."""
    api = await world.api_server()
    upstream = await world.upstream(answer_well)
    api.put("configmaps", config_map(config([upstream.url])))
    served = await following(world, api)
    await served.readiness()
    api.delete("configmaps", "models")
    shown = await health(served, lambda shown: shown["config"]["complaints"])
    assert shown["config"]["complaints"][0]["message"] == "there is no ConfigMap models in namespace ai"
    assert (await served.probe("/readyz")).status == 200
    assert (await served.chat()).status == 200
    api.put("configmaps", config_map(config([upstream.url], models={"new": {"ollama": "llama3"}})))
    await health(served, lambda shown: shown["config"]["last_reload"] == "ok")
    assert (await served.chat(model="new")).status == 200


async def test_without_a_config_map_it_is_not_ready_and_says_why_until_it_comes(world: World) -> None:
    """Alive all the while; what was bound at the start fits, so it goes on as it is."""
    api = await world.api_server()
    served = await following(world, api)
    ready = await served.probe("/readyz")
    assert (ready.status, ready.json["reason"]) == (
        503,
        "no valid config: there is no ConfigMap models in namespace ai",
    )
    assert (await served.probe("/livez")).status == 200
    assert (await served.chat()).error["type"] == "backend_unavailable"
    api.put("configmaps", config_map(config([(await world.upstream(answer_well)).url])))
    await served.readiness()
    assert (await served.chat()).status == 200
    assert not served.shutdown.requested.is_set()


@pytest.mark.parametrize(("status", "words"), [(None, "refused"), (503, "503 the test says"), (403, "grant list and")])
async def test_a_start_while_the_api_server_is_away_says_so_and_heals(
    world: World, status: int | None, words: str
) -> None:
    """Nobody listens, or it answers with an error: not ready, with the reason; then ready, without a restart."""
    api = await world.api_server()
    api.put("configmaps", config_map(config([(await world.upstream(answer_well)).url])))
    if status is None:
        await api.stop()
    else:
        api.refusals["list"] = status
    served = await following(world, api)
    ready = await served.probe("/readyz")
    assert ready.status == 503
    assert "ConfigMap ai/models cannot be read: " in ready.json["reason"]
    assert words in ready.json["reason"]
    api.refusals.clear()
    if status is None:
        await api.start()
    await served.readiness()
    assert (await served.chat()).status == 200
    await health(served, lambda shown: not shown["config"]["complaints"])


async def test_a_first_config_that_comes_late_and_asks_for_other_ports_is_started_anew(world: World) -> None:
    """The gateway exits by itself, so that its supervisor starts it again, now with that config."""
    api = await world.api_server()
    served = await following(world, api)
    assert not served.shutdown.requested.is_set()
    api.put("configmaps", config_map(config([], listen="127.0.0.1:1")))
    await soon(served.shutdown.requested.wait())


async def test_other_ports_in_a_later_config_only_wait_for_a_restart(world: World) -> None:
    """A gateway that serves is not ended by an edit."""
    api = await world.api_server()
    upstream = await world.upstream(answer_well)
    api.put("configmaps", config_map(config([upstream.url])))
    served = await following(world, api)
    api.put("configmaps", config_map(config([upstream.url], listen="127.0.0.1:1")))
    await health(served, lambda shown: shown["config"]["restart_required"] == ["listen"])
    assert not served.shutdown.requested.is_set()


async def test_a_file_stands_in_until_the_config_map_is_read(world: World, tmp_path: Path) -> None:
    """Ready with the file while the API server is away, and edits of it count; then the ConfigMap does."""
    api = await world.api_server()
    access = api.access(world.folder)
    upstream = await world.upstream(answer_well)
    in_map = config_map(config([upstream.url], models={"new": {"ollama": "llama3"}}))
    api.put("configmaps", in_map)
    await api.stop()
    file = tmp_path / "stand-in.yml"
    file.write_text(yaml.safe_dump(config([upstream.url])))
    served = await world.gateway_beside(access, MAP, stand_in=file)
    await served.readiness()
    assert (await served.chat()).status == 200
    shown = await health(served, lambda shown: shown["config"]["complaints"])
    assert shown["config"]["complaints"][0]["message"].endswith("; the mounted file is used instead")
    assert (shown["config"]["last_reload"], await metric(served, "config_failing")) == ("ok", 1)
    edited = tmp_path / "edited.yml"
    edited.write_text(yaml.safe_dump(config([upstream.url], models={"edited": {"ollama": "llama3"}})))
    edited.replace(file)
    await until(lambda: list(served.gateway.current.now.config.models) == ["edited"])
    await api.start()
    await until(lambda: list(served.gateway.current.now.config.models) == ["new"])
    await health(served, lambda shown: not shown["config"]["complaints"])
    assert await metric(served, "config_failing") == 0
    assert (await served.chat(model="new")).status == 200
    assert (await served.chat()).error["code"] == "model_not_found"


async def test_a_config_map_that_can_be_listed_and_not_watched_goes_before_the_file(
    world: World, tmp_path: Path
) -> None:
    """Its edits are seen by list after list; what is changed in the file is not taken."""
    api = await world.api_server()
    api.refusals["watch"] = 403
    upstream = await world.upstream(answer_well)
    api.put("configmaps", config_map(config([upstream.url])))
    file = tmp_path / "stand-in.yml"
    file.write_text(yaml.safe_dump(config([upstream.url])))
    served = await world.gateway_beside(api.access(world.folder), MAP, stand_in=file)
    await health(served, lambda shown: shown["config"]["complaints"])
    edited = tmp_path / "edited.yml"
    edited.write_text(yaml.safe_dump(config([upstream.url], models={"edited": {"ollama": "llama3"}})))
    edited.replace(file)
    for name in ("one", "two"):
        api.put("configmaps", config_map(config([upstream.url], models={name: {"ollama": "llama3"}})))
        await until(lambda name=name: list(served.gateway.current.now.config.models) == [name])  # type: ignore[misc]  # a default in a lambda
    shown = await served.get("/v1/health")
    assert "does not allow the gateway to watch configmaps" in shown["config"]["complaints"][0]["message"]


async def test_pods_and_config_come_from_one_api_server(world: World) -> None:
    """As in a cluster: a ConfigMap with models alone, and pods found without being asked to."""
    api = await world.api_server()
    await one_pod(world, api)
    api.put("configmaps", config_map({"models": dict(MODELS)}))
    served = await following(world, api)
    await served.readiness()
    assert (await served.chat()).status == 200
    assert NO_OLLAMA["OLLAMA_HOST"] not in str((await served.get("/v1/health"))["endpoints"])
