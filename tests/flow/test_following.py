"""A whole gateway and models that follow its config: what it does at its start, and what its API says of it."""

from typing import Any

import pytest
from tests.flow.waiting import until
from tests.flow.world import Served, World

from ai_gateway.balancing.resident import HeldModel
from ai_gateway.edge.rollout_status import reconcile_status

MADE = "ai-gateway-default/"


def made(served: Served) -> list[str]:
    """The names that were made, over all endpoints."""
    endpoints = served.gateway.fleet.endpoints.values()
    return [name for endpoint in endpoints for name in endpoint.held or () if name.startswith(MADE)]


async def test_a_start_does_not_take_unseen_endpoints_for_empty_ones(world: World) -> None:
    """A model that one endpoint has is not brought to the others, though at first none is known to have it."""
    first = await world.simulator(models=("llama3:latest",), registry=("*",))
    others = await world.simulator(count=2, models=("other:latest",), registry=("*",))
    models = {"llama3": {"pull": "if_missing"}, "new": {"pull": "if_missing"}}
    served = await world.gateway([*first.urls, *others.urls], models=models)
    await until(lambda: len(made(served)) == 3, "the other model is everywhere")
    assert {name.partition(":")[0] for name in made(served)} == {f"{MADE}new"}
    assert served.gateway.fleet.peers.everywhere == {f"{MADE}new"}


async def status(served: Served) -> dict[str, Any]:
    """What health tells of the models that follow the config."""
    shown: dict[str, Any] = (await served.get("/v1/health"))["reconcile"]
    return shown


async def test_a_model_is_in_place_when_every_endpoint_has_it_as_the_config_says(world: World) -> None:
    """Also one that is only pulled by hand, once an endpoint has it."""
    simulator = await world.simulator(count=2, models=("other:latest",), registry=("*",), pull_bytes_per_second=1e10)
    served = await world.gateway(simulator.urls, models={"new": {"pull": "if_missing"}, "other": {}, "none": {}})
    seen = [await served.get("/v1/models/new")]
    while not seen[-1]["in_place"]:
        seen.append(await served.get("/v1/models/new"))
    assert len(made(served)) == 2
    assert seen[0]["config"] == served.gateway.live.digest
    assert [(await served.get(f"/v1/models/{model}"))["in_place"] for model in ("other", "none")] == [True, False]
    listed = {one["id"]: one.get("state") for one in (await served.get("/v1/models"))["data"]}
    assert listed == {"new": "ready", "other": None, "none": None}


async def test_a_tag_that_no_call_needs_and_nobody_takes_away_is_shown(world: World) -> None:
    """As a gateway leaves it that is killed after its copy, or whoever pulled it by hand."""
    simulator = await world.simulator(models=("llama3:latest", "other:latest"))
    served = await world.gateway(simulator.urls, models={"llama3": {"pull": "if_missing", "system": "Hi"}})
    await until(lambda: len(made(served)) == 2, "the copy and the derived model are made")
    assert (await status(served))["tags_left"] == [{"endpoint": simulator.urls[0], "tag": "llama3:latest"}]


async def test_different_contents_of_one_tag_are_shown_as_drift(world: World) -> None:
    one = await world.simulator(models=("llama3:latest", "other:latest"))
    two = await world.simulator(models=("llama3:latest", "other:latest"), seed=7)
    served = await world.gateway([*one.urls, *two.urls], models={"llama3": {"pull": "if_missing"}})
    endpoints = list(served.gateway.fleet.endpoints.values())
    held = endpoints[1].residency.held or {}
    endpoints[1].residency.saw_models({**held, "llama3:latest": HeldModel("llama3:latest", "f" * 64, 1, 0)})
    shown = reconcile_status(served.gateway.reconciler, served.gateway.fleet, 0.0)
    (places,) = shown["drift"].values()
    assert places["f" * 12] == [two.urls[0]]
    assert sorted(url for urls in places.values() for url in urls) == sorted([*one.urls, *two.urls])
    assert list(shown["drift"]) == ["llama3"]


@pytest.mark.parametrize(("loads", "mode", "lines"), [("never", "auto", 1), ("auto", "never", 0)])
async def test_a_gateway_that_may_not_write_says_why(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loads: str,
    mode: str,
    lines: int,
) -> None:
    """In health always; in the log once, unless the config asks for it by name."""
    monkeypatch.setattr("ai_gateway.upstream.installing.SILENT_SECONDS", 0.0)
    simulator = await world.simulator(models=("other:latest",), registry=("*",))
    served = await world.gateway(
        simulator.urls, models={"llama3": {"pull": "if_missing"}}, balancing={"loads": loads}, reconcile={"mode": mode}
    )
    complaint = (await status(served))["complaint"]
    assert complaint == ("reconcile.mode is never" if mode == "never" else "balancing.loads is never")
    assert (await served.get("/v1/models/llama3"))["complaint"] == complaint
    for _ in range(3):
        served.gateway.installer._round()  # a few rounds later
    assert caplog.text.count("does not bring models to the endpoints") == lines
    assert made(served) == []
