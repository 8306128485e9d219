"""A config that does not ask for it changes nothing on any endpoint: the gateway only looks."""

from pathlib import Path

import yaml
from tests.flow.upstream import Upstream, answer_well
from tests.flow.waiting import until
from tests.flow.world import World

USUAL = Path(__file__).parents[2] / "config.yml"  # that of `make run`, and of `ai-gateway serve` in a checkout
QUICK = {"interval": "100ms", "models_interval": "100ms"}
LOOKS = 20


def _config(upstreams: list[Upstream], **more: object) -> str:
    known = yaml.safe_load(USUAL.read_text())
    return yaml.safe_dump({**known, "discovery": {"static": [one.url for one in upstreams]}, "polling": QUICK, **more})


def _writes(upstreams: list[Upstream]) -> list[str]:
    asked = [(look.method, look.path) for one in upstreams for look in one.looks]
    return [f"{method} {path}" for method, path in asked if method != "GET" and path != "/api/show"]  # it only reads


async def _some(world: World) -> list[Upstream]:
    """One has a model of the config, loaded; the other has none of them."""
    return [await world.upstream(answer_well), await world.upstream(answer_well, models=("other:latest",))]


async def test_the_config_of_the_repository_writes_to_no_endpoint(world: World) -> None:
    """Two of its models are on no endpoint, and one only on one of two."""
    upstreams = await _some(world)
    served = await world.gateway_with(_config(upstreams))
    assert (await served.chat()).status == 200
    missing = await served.chat(model="coder")
    assert (missing.status, missing.json["error"]["code"]) == (503, "model_missing")
    assert "pull: if_missing" in missing.json["error"]["message"]
    await until(lambda: all(one.asked.count("/api/tags") >= LOOKS for one in upstreams), "it looks again and again")
    assert _writes(upstreams) == []
    health = await served.get("/v1/health")
    assert (health["reconcile"]["under_way"], health["reconcile"]["failed"]) == ([], [])


async def test_the_same_config_with_the_line_for_it_has_missing_models_pulled(world: World) -> None:
    """What the other test would see."""
    upstreams = await _some(world)
    await world.gateway_with(_config(upstreams, reconcile={"pull": "if_missing"}))
    await until(lambda: "POST /api/pull" in _writes(upstreams), "a model is pulled")
